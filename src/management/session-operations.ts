/** What the management API may ask about live sessions, and do to all those of a destination, in the whole fleet. */
import type { Confirmation } from './operations.ts'

export interface SessionFilter {
  /** Normalised. */
  readonly identifier: string | undefined
  readonly destination: string | undefined
}

export interface SessionStatus {
  /** Redacted as in the log, unless it was asked for by name; null: the login named none. */
  readonly account: string | null
  readonly protocol: string
  readonly destination: string
  readonly client: string
  /** ISO time of its connection. */
  readonly since: string
  readonly bytes_in: number
  readonly bytes_out: number
  readonly instance: string
  readonly worker: number
}

export interface SessionList {
  readonly sessions: readonly SessionStatus[]
  /** How many there are, listed or not. */
  readonly total: number
  /** Peers that didn't answer in time. */
  readonly unanswered: readonly string[]
}

export interface SessionCount {
  readonly instance: string
  readonly protocol: string
  readonly destination: string
  readonly sessions: number
  readonly bytes_in: number
  readonly bytes_out: number
}

export interface SessionSummary {
  readonly total: number
  readonly counts: readonly SessionCount[]
  readonly unanswered: readonly string[]
}

/** How many sessions are being ended, here and at the peers that have confirmed. */
export interface Drained {
  readonly sessions: number
  readonly confirmation: Confirmation
}

export interface SessionOperations {
  list(filter: SessionFilter, limit: number): Promise<SessionList>
  summary(): Promise<SessionSummary>
  /** Begins to end the destination's sessions, spread over so many milliseconds. */
  drain(destination: string, over: number): Promise<Drained>
  /** Undefined: no such destination is declared. */
  setState(destination: string, state: 'up' | 'drain' | 'down', over: number): Promise<Drained | undefined>
}
