/**
 * The mapping actor of the primary: the one owner of the mapping source's writes, and of the file source's table that
 * workers ask on a cache miss. Its handlers start the source's work and hand on what comes of it; a change is answered
 * when the source has committed it, invalidating is the caller's next step.
 */
import type { Behaviour } from '../actor/actor.ts'
import type { Question, Reply } from '../actor/message.ts'
import { asSignalboxError, impossible, SignalboxError } from '../errors.ts'
import type { LeaseHolder } from './lease.ts'
import type { Exchanged, MappingSource, ReloadResult } from './source.ts'

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
/** Answered with whether the source held `from`, and holds `to` now; null: no mapping. */
export interface Exchange extends Question<boolean> {
  readonly type: 'exchange'
  readonly identifier: string
  readonly from: string | null
  readonly to: string | null
}
/** Answered with who has the account's lease; null: it is the asker's now. */
export interface Lease extends Question<LeaseHolder | null> {
  readonly type: 'lease'
  readonly identifier: string
  readonly holder: LeaseHolder
  readonly ms: number
}
export interface EndLease extends Question<true> {
  readonly type: 'end-lease'
  readonly identifier: string
  readonly id: string
}
export interface Reload extends Question<ReloadResult> {
  readonly type: 'reload'
}
export type MappingMessage = Lookup | Put | Delete | Exchange | Lease | EndLease | Reload

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
      case 'exchange': {
        if (!this.#writable(reply)) return
        const change: Exchanged = { from: message.from ?? undefined, to: message.to ?? undefined }
        this.#source.exchange(message.identifier, change).then((done) => reply.to(message, done), fail)
        return
      }
      case 'lease':
        if (!this.#writable(reply)) return
        this.#source.lease(message.identifier, message.holder, message.ms).then((other) => reply.to(message, other ?? null), fail)
        return
      case 'end-lease':
        this.#source.endLease(message.identifier, message.id).then(() => reply.to(message, true), fail)
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
