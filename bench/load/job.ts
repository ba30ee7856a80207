/** What the load generator's threads are told to do, and what they answer. Plain data: it crosses threads. */

export interface Target {
  readonly port: number
  readonly tls: boolean
  /** Take up the slot's last TLS session instead of a full handshake. */
  readonly resume: boolean
  /** Names are user0@example.com … user(users-1)@example.com. */
  readonly users: number
}

export type Job =
  /** Sessions one after the other, `concurrency` at a time, none begun after `ms`: greeting, LOGIN, OK, LOGOUT, close. */
  | { readonly type: 'login'; readonly target: Target; readonly concurrency: number; readonly ms: number }
  /** Logs in `sessions` times, `concurrency` in progress, and keeps them all until told to release. */
  | { readonly type: 'hold'; readonly target: Target; readonly concurrency: number; readonly sessions: number }
  /** Closes what is held; what had ended by itself has failed. */
  | { readonly type: 'release' }
  /** `concurrency` sessions that log in, fetch `bytes` each, and log out. */
  | { readonly type: 'bulk'; readonly target: Target; readonly concurrency: number; readonly bytes: number }
  /** Requests over kept connections, one outstanding on each, none begun after `ms`. */
  | { readonly type: 'http'; readonly target: Target; readonly concurrency: number; readonly ms: number }

export interface Outcome {
  /** Sessions, requests or transfers that went as they should. */
  readonly done: number
  /** Those that did not, by what went wrong. */
  readonly failed: Readonly<Record<string, number>>
  readonly bytes: number
  /** TLS handshakes that took up an earlier session. */
  readonly resumed: number
  readonly seconds: number
  /** Connect to login OK, or request to answer, µs; a sample when there are many. */
  readonly latencies: readonly number[]
  /** Processor seconds of the generator's threads. */
  readonly cpuSeconds: number
}

/** Several threads' outcomes as one. */
export function merged(outcomes: readonly Outcome[]): Outcome {
  const failed: Record<string, number> = {}
  for (const outcome of outcomes) {
    for (const [what, count] of Object.entries(outcome.failed)) failed[what] = (failed[what] ?? 0) + count
  }
  const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((total, outcome) => total + of(outcome), 0)
  return {
    done: sum(({ done }) => done),
    failed,
    bytes: sum(({ bytes }) => bytes),
    resumed: sum(({ resumed }) => resumed),
    seconds: Math.max(0, ...outcomes.map(({ seconds }) => seconds)),
    latencies: outcomes.flatMap(({ latencies }) => latencies),
    cpuSeconds: sum(({ cpuSeconds }) => cpuSeconds),
  }
}
