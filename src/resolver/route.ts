/** What the resolver answers: where an account's session goes, or why it can't go anywhere for the moment. */
import type { SignalboxError } from '../errors.ts'

/** A route that a session may take. */
export interface OpenRoute {
  readonly kind: 'mapped' | 'default'
  /** The account; undefined when the login named none (always the default route). */
  readonly identifier: string | undefined
  /** Number of the destination in the catalogue. */
  readonly destination: number
  /** The resolver's generation when the lookup behind this route began. */
  readonly generation: number
  /** Clock time at which the source gave it; of a doubtful one, at which it couldn't be asked. */
  readonly at: number
  /** Where it came from: a fresh entry, the source, or a doubtful entry because the source could not be asked. */
  readonly source: 'cache' | 'store' | 'stale'
}

/** No route for the moment: the client gets the temporary failure. */
export interface UnavailableRoute {
  readonly kind: 'unavailable'
  readonly error: SignalboxError
}

export type Route = OpenRoute | UnavailableRoute

/** Whether a route that was given out may still be taken. */
export type RouteStanding =
  /** Nothing has happened to it. */
  | 'holds'
  /** Its account (or everything) was invalidated since: never to be taken. */
  | 'void'
  /** An invalidation may have been missed since: to be looked up again before it is taken. */
  | 'doubtful'
