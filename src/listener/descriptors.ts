/**
 * File descriptors: what a process may have open, what it has, and how many connections fit in. Whoever accepts a
 * connection without one to spare loses it without a word (libuv accepts and closes it), and a backend can't be dialled
 * either; so connections are turned away politely while limits.DESCRIPTOR_RESERVE are still free.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { DESCRIPTOR_RESERVE, WORKER_DESCRIPTORS } from '../limits.ts'

/** The limit of this process, which its workers inherit; Infinity where the system names none. */
export function descriptorLimit(): number {
  try {
    return parseLimit(readFileSync('/proc/self/limits', 'latin1'))
  } catch {
    // Not Linux: no limit is known, and nobody is turned away for it.
    return Number.POSITIVE_INFINITY
  }
}

/** The soft limit in a text such as /proc/self/limits. */
export function parseLimit(text: string): number {
  const found = /^Max open files +(\S+)/m.exec(text)?.[1]
  return found === undefined || found === 'unlimited' ? Number.POSITIVE_INFINITY : Number(found)
}

/** Open in this process; 0 where the system doesn't tell. */
export function openDescriptors(): number {
  try {
    // One of them is the directory that is being read.
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return 0
  }
}

/** How many connections a worker may have: each needs a descriptor for the client and one for the backend. */
export function workerCapacity(limit: number): number {
  return Math.max(1, Math.floor((limit - DESCRIPTOR_RESERVE - WORKER_DESCRIPTORS) / 2))
}

/** Whether a process that has so many open turns everybody away: not even the reserve is left. */
export function exhausted(limit: number, open: number): boolean {
  return open + DESCRIPTOR_RESERVE >= limit
}

/** What every worker needs when all listeners are full. */
export function descriptorsWanted(connections: number, workers: number): number {
  return 2 * Math.ceil(connections / workers) + DESCRIPTOR_RESERVE + WORKER_DESCRIPTORS
}

export interface DescriptorsOptions {
  readonly limit: number
  /** All that are open in this process. */
  readonly open: () => number
}

/** The descriptors of a process that holds connections for a moment only. Those are counted, the rest is measured now and then. */
export class Descriptors {
  readonly #limit: number
  readonly #open: () => number
  #others = 0
  #held = 0

  constructor({ limit, open }: DescriptorsOptions) {
    this.#limit = limit
    this.#open = open
  }

  get limit(): number {
    return this.#limit
  }

  /** Whether another connection would take of the reserve. */
  get short(): boolean {
    return exhausted(this.#limit, this.#others + this.#held)
  }

  /** Looks how many there are besides connections. */
  measure(): void {
    if (Number.isFinite(this.#limit)) this.#others = Math.max(0, this.#open() - this.#held)
  }

  /** A connection was accepted. */
  took(): void {
    this.#held++
  }

  /** … and closed. */
  gave(): void {
    this.#held--
  }
}
