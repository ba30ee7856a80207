/**
 * The mapping actor of the primary: the one owner of the mapping source's writes, and of the file source's table that
 * workers ask on a cache miss. Its handlers start the source's work and hand on what comes of it; a change is answered
 * when the source has committed it, invalidating is the caller's next step.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Question, Reply } from '../actor/message.ts'
import { asSignalboxError, impossible, SignalboxError } from '../errors.ts'
import type { MappingSource, ReloadResult } from './source.ts'

/** From a worker's resolver. Answered with the destination's name; null: no mapping. */
export interface Lookup extends Question<string | null> {
  readonly type: 'lookup'
  readonly identifier: string
}
export interface Put extends Question<true> {
  readonly type: 'put'
  readonly identifier: string
  readonly destination: string
}
/** Answered with whether there was a mapping. */
export interface Delete extends Question<boolean> {
  readonly type: 'delete'
  readonly identifier: string
}
export interface Reload extends Question<ReloadResult> {
  readonly type: 'reload'
}
export type MappingMessage = Lookup | Put | Delete | Reload

export class MappingOwner implements Behaviour<MappingMessage> {
  readonly #source: MappingSource

  constructor(source: MappingSource) {
    this.#source = source
  }

  receive(message: MappingMessage, reply: Reply): void {
    const fail = (error: unknown) => reply.fail(asSignalboxError(error, 'SOURCE_UNAVAILABLE'))
    switch (message.type) {
      case 'lookup':
        this.#source.lookup(message.identifier).then((destination) => reply.to(message, destination ?? null), fail)
        return
      case 'put':
        if (!this.#writable(reply)) return
        this.#source.put(message.identifier, message.destination).then(() => reply.to(message, true), fail)
        return
      case 'delete':
        if (!this.#writable(reply)) return
        this.#source.delete(message.identifier).then((removed) => reply.to(message, removed), fail)
        return
      case 'reload':
        this.#source.reload().then((result) => reply.to(message, result), fail)
        return
      default:
        impossible(message)
    }
  }

  /** The source's owner can't be made anew beside its own writes: end the process. */
  crashed(error: SignalboxError): void {
    throw error
  }

  #writable(reply: Reply): boolean {
    if (this.#source.writable) return true
    reply.fail(new SignalboxError('SOURCE_READ_ONLY', 'the mapping source is read-only'))
    return false
  }
}
