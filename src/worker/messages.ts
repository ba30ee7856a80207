/** The catalogue of the worker actor: what the primary tells a worker as a whole. */
import type { Message, Question } from '../actor/message.ts'
import type { Counts } from '../observe/counters.ts'
import type { ProcessFacts } from '../observe/process-facts.ts'
import type { Verdict } from '../primary/health.ts'
import type { ResolverStats } from '../resolver/resolver.ts'
import type { SessionsStats } from '../session/sessions.ts'
import type { TlsChange } from '../tls/inbound.ts'

/** Is your event loop turning? */
export interface Ping extends Question<true> {
  readonly type: 'ping'
}
/** A destination's health has changed. */
export interface Told extends Message {
  readonly type: 'verdict'
  readonly verdict: Verdict
}
/** Take no more connections, let sessions finish for `grace` milliseconds, then end them and yourself. A shorter grace counts. */
export interface Drain extends Message {
  readonly type: 'drain'
  readonly grace: number
  /** Those who have not logged in may go on to do so; else they are taken leave of at once. */
  readonly patient: boolean
}
export interface WorkerStatsQuestion extends Question<WorkerStats> {
  readonly type: 'stats'
}
/** Whether anybody wants to hear of sessions that begin and end. */
export interface Watch extends Message {
  readonly type: 'watch'
  readonly sessions: boolean
}
/** What has been counted since the start, and how the process is. */
export interface CountersQuestion extends Question<{ readonly counts: Counts; readonly process: ProcessFacts }> {
  readonly type: 'counters'
}
/** Handshakes from now on use this. Answered when they do. */
export interface TlsChanged extends Question<true> {
  readonly type: 'tls'
  readonly change: TlsChange
}
/** Make ready for the settings of that generation, which have come. Fails with CONFIG_INVALID when they can't be used. */
export interface Prepare extends Question<true> {
  readonly type: 'prepare'
  readonly generation: number
}
/** Use what was prepared. Answered when it is so. */
export interface Commit extends Question<true> {
  readonly type: 'commit'
  readonly generation: number
}
export type WorkerMessage = Ping | Prepare | Commit | Told | TlsChanged | Drain | WorkerStatsQuestion | CountersQuestion | Watch

export interface WorkerStats {
  readonly resolver: ResolverStats
  readonly sessions: SessionsStats
}
