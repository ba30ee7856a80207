/** What the log of an instance says of one client: which worker had its session, and why that was closed. HTTP and what never logged in leave no such lines. */
import type { Clock } from '../../src/clock.ts'
import type { LogLine } from '../support/signalbox.ts'
import type { Trip } from './crowd.ts'

/** The client's verdict and the worker's line are that near. */
const NEAR_MS = 1_000

export interface TraceOptions {
  readonly trip: Trip
  /** Logs of the instance: it may have been started anew meanwhile. */
  readonly logs: () => readonly (readonly LogLine[])[]
  readonly clock: Clock
  /** Clock times: of setting out, and of being in; undefined: it never was. */
  readonly began: number
  readonly arrived: number | undefined
}

export class Trace {
  readonly #options: TraceOptions

  constructor(options: TraceOptions) {
    this.#options = options
  }

  /**
   * Whether a worker that ended at a clock time had its session: by the line of its login, or without one where the worker had no
   * time to write it. What leaves no line may have been anywhere.
   *
   * @param unwritten milliseconds
   */
  wasIn(worker: number, ended: number, unwritten: number): boolean {
    const { trip, began, arrived } = this.#options
    if (trip.door.protocol === 'http') return true
    if (arrived === undefined) return false
    const event = isPassed(trip) ? 'passed_through' : 'login'
    const lines = this.#lines(event, began - NEAR_MS, arrived + NEAR_MS)
    if (lines.length > 0) return lines.some((line) => line['worker'] === worker)
    return ended - arrived <= unwritten
  }

  /** Whether a session of its account, through its door, was closed for this reason between two clock times. HTTP: nobody says, so it may have been. */
  closedAs(reason: string, from: number, to: number): boolean {
    if (this.#options.trip.door.protocol === 'http') return true
    return this.#lines('session_closed', from, to).some((line) => line['reason'] === reason)
  }

  /** Whether a worker of the instance looked its sessions over and ended some between two clock times. */
  reviewed(from: number, to: number): boolean {
    return this.#find(from, to, ({ event, ended }) => event === 'sessions_reviewed' && ended !== 0).length > 0
  }

  #lines(event: string, from: number, to: number): readonly LogLine[] {
    const { trip } = this.#options
    const { door, account } = trip
    const listener = `${door.protocol}-${door.tls}`
    return this.#find(from, to, (line) => line['event'] === event && line['listener'] === listener && (isPassed(trip) || line['account'] === account))
  }

  #find(from: number, to: number, fits: (line: LogLine) => boolean): readonly LogLine[] {
    const { logs, clock } = this.#options
    const offset = clock.wall() - clock.now()
    const within = ({ time }: LogLine): boolean => {
      const at = Date.parse(String(time)) - offset
      return at >= from && at <= to
    }
    return logs().flatMap((lines) => lines.filter((line) => fits(line) && within(line)))
  }
}

/** Whether it has no login: the account is nobody's there. */
export function isPassed({ door }: Trip): boolean {
  return door.protocol === 'smtp' || door.protocol === 'lmtp'
}
