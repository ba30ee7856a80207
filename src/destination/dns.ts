/**
 * Addresses of the destinations' hosts. Answers of the system's resolver (hosts file included) are used for
 * DNS_TTL_MS, concurrent lookups of one host are one lookup, and the last good answer stays in use for as long as DNS
 * fails: a nameserver that is away must not take the mail servers with it. One that doesn't answer at all counts as
 * failing after DNS_STALE_WAIT_MS where an older answer is at hand. A host that never resolved is asked for anew each
 * time; the breaker of its destination keeps that rare.
 *
 * Both families come back in turns (RFC 8305 §4), the resolver's first choice first. Entries are as many as
 * destinations were ever configured.
 */
import { lookup as systemLookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { DNS_STALE_WAIT_MS, DNS_TTL_MS } from '../limits.ts'

export interface Address {
  readonly address: string
  readonly family: 4 | 6
}

/** Asks the system. Rejects when there is no answer; an empty one counts as none. */
export type ResolveHost = (host: string) => Promise<readonly Address[]>

interface Entry {
  /** The last good answer. */
  addresses: readonly Address[] | undefined
  freshUntil: number
  inFlight: Promise<readonly Address[]> | undefined
}

export class AddressBook {
  readonly #clock: Clock
  readonly #resolve: ResolveHost
  readonly #entries = new Map<string, Entry>()

  constructor(clock: Clock, resolve: ResolveHost = askSystem) {
    this.#clock = clock
    this.#resolve = resolve
  }

  /** What is known without asking: the host is an address itself, or its answer is fresh. Never empty. */
  known(host: string): readonly Address[] | undefined {
    const entry = this.#entries.get(host)
    if (entry !== undefined) return this.#clock.now() < entry.freshUntil ? entry.addresses : undefined
    const family = isIP(host)
    if (family === 0) return undefined
    const addresses = [{ address: host, family: family === 4 ? 4 : 6 }] as const
    this.#entries.set(host, { addresses, freshUntil: Infinity, inFlight: undefined })
    return addresses
  }

  /** The host's addresses, in the order to try them. Never empty; rejects with BACKEND_DNS. */
  async lookup(host: string): Promise<readonly Address[]> {
    const known = this.known(host)
    if (known !== undefined) return known
    let entry = this.#entries.get(host)
    if (entry === undefined) {
      entry = { addresses: undefined, freshUntil: 0, inFlight: undefined }
      this.#entries.set(host, entry)
    }
    entry.inFlight ??= this.#ask(host, entry)
    return entry.addresses === undefined ? entry.inFlight : this.#withPatience(entry.inFlight, entry.addresses)
  }

  async #ask(host: string, entry: Entry): Promise<readonly Address[]> {
    try {
      const answer = await this.#resolve(host)
      if (answer.length === 0) throw new SignalboxError('BACKEND_DNS', `${host} has no address`)
      entry.addresses = inTurns(answer)
    } catch (thrown) {
      if (entry.addresses === undefined) throw dnsError(host, thrown)
    } finally {
      entry.inFlight = undefined
    }
    entry.freshUntil = this.#clock.now() + DNS_TTL_MS
    return entry.addresses
  }

  #withPatience(asked: Promise<readonly Address[]>, last: readonly Address[]): Promise<readonly Address[]> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(DNS_STALE_WAIT_MS, () => resolve(last))
      // With a last good answer at hand #ask never rejects.
      void asked.then((addresses) => {
        timer.cancel()
        resolve(addresses)
      })
    })
  }
}

async function askSystem(host: string): Promise<readonly Address[]> {
  const answer = await systemLookup(host, { all: true, order: 'verbatim' })
  return answer.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }))
}

/** The resolver's order with the families alternating, so that one broken family costs one attempt. */
function inTurns(addresses: readonly Address[]): readonly Address[] {
  const first = addresses.filter(({ family }) => family === addresses[0]?.family)
  const second = addresses.filter(({ family }) => family !== addresses[0]?.family)
  const turns: Address[] = []
  for (let i = 0; i < Math.max(first.length, second.length); i++) {
    const [one, other] = [first[i], second[i]]
    if (one !== undefined) turns.push(one)
    if (other !== undefined) turns.push(other)
  }
  return turns
}

function dnsError(host: string, thrown: unknown): SignalboxError {
  if (thrown instanceof SignalboxError) return thrown
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'failed'
  return new SignalboxError('BACKEND_DNS', `${host} does not resolve (${code})`, { cause: thrown })
}
