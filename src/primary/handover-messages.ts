/** The catalogue of the acceptor actor: what workers say of connections that are on their way to them. */
import type { Message } from '../actor/message.ts'

/** These were taken: the worker owns them from here on. Sent before the first byte goes out. */
export interface Taken extends Message {
  readonly type: 'taken'
  readonly worker: number
  readonly ids: readonly number[]
}
/** These came too late (the worker stood still meanwhile) or while it was draining: somebody else must take them. */
export interface Declined extends Message {
  readonly type: 'declined'
  readonly worker: number
  readonly ids: readonly number[]
}
export type AcceptorMessage = Taken | Declined
