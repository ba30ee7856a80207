/**
 * Whether an address leads back to one of our own listeners. The configuration's check sees what stands in the file; this
 * one sees what a name has become when it is dialled. What is bound to a wildcard listens on every address of this host.
 *
 * A port that the kernel chose (0 in the configuration) is not known here.
 */
import { networkInterfaces } from 'node:os'
import ipaddr from 'ipaddr.js'
import type { Clock } from '../clock.ts'
import type { ListenerConfig } from '../config/config.ts'
import { DNS_TTL_MS } from '../limits.ts'
import { addressText } from '../listener/address.ts'

/** Addresses of this host's interfaces. */
export type Interfaces = () => readonly string[]

const systemInterfaces: Interfaces = () => Object.values(networkInterfaces()).flatMap((addresses = []) => addresses.map(({ address }) => address))

export class OwnListeners {
  readonly #clock: Clock
  readonly #interfaces: Interfaces
  /** Addresses in their one form, by port. */
  readonly #bound = new Map<number, Set<string>>()
  #local: ReadonlySet<string> = new Set()
  #until = Number.NEGATIVE_INFINITY

  constructor(listeners: readonly ListenerConfig[], clock: Clock, interfaces: Interfaces = systemInterfaces) {
    this.#clock = clock
    this.#interfaces = interfaces
    this.replace(listeners)
  }

  /** A reload: these are ours from now on. */
  replace(listeners: readonly ListenerConfig[]): void {
    this.#bound.clear()
    for (const { host, port } of listeners.flatMap(({ bind }) => bind)) {
      if (port === 0) continue
      const hosts = this.#bound.get(port)
      if (hosts === undefined) this.#bound.set(port, new Set([addressText(host)]))
      else hosts.add(addressText(host))
    }
  }

  /** Whether a connection to it would be ours to accept. */
  has(address: string, port: number): boolean {
    const bound = this.#bound.get(port)
    if (bound === undefined) return false
    const target = targetOf(addressText(address))
    return bound.has(target) || (bound.has(target.includes(':') ? ANY6 : ANY4) && this.#isLocal(target))
  }

  #isLocal(address: string): boolean {
    if (ipaddr.isValid(address) && ipaddr.parse(address).range() === 'loopback') return true
    const now = this.#clock.now()
    if (now >= this.#until) {
      this.#local = new Set(this.#interfaces().map(addressText))
      this.#until = now + DNS_TTL_MS
    }
    return this.#local.has(address)
  }
}

const ANY4 = '0.0.0.0'
const ANY6 = '::'

/** Connecting to the unspecified address means connecting to the loopback. */
function targetOf(address: string): string {
  if (address === ANY4) return '127.0.0.1'
  return address === ANY6 ? '::1' : address
}
