/**
 * A link carries frames between the actors of two processes over any channel that keeps order (the cluster's IPC).
 * Frames that are sent in one turn of the event loop leave together. Each side exports actors under small numbers; a
 * remote ref looks like a local one. Questions that are open when the channel closes fail with ACTOR_GONE.
 *
 * Trade-off: order between frames of one link is kept, so that an answer that was sent before an invalidation also
 * arrives before it; the resolver's generations rely on it for the file source.
 */
import type { CancelSignal } from '../cancel.ts'
import type { Clock, Timer } from '../clock.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { NOBODY } from './actor.ts'
import type { LocalRef } from './actor.ts'
import { joinFrames, splitFrames } from './batch.ts'
import { decodeFrame, encodeFrame, errorFromWire, errorToWire } from './frame.ts'
import type { Frame, FrameKind } from './frame.ts'
import type { ActorRef, AnswerOf, Message, Question, Reply } from './message.ts'

/** The numbers under which actors are known across the IPC. Never reused for another actor. */
export const ADDRESSES = {
  resolver: 1,
  sessions: 2,
  mapping: 3,
  health: 4,
  limits: 5,
  acceptor: 6,
  worker: 7,
  tally: 8,
} as const
export type Address = keyof typeof ADDRESSES

export interface LinkOptions {
  readonly clock: Clock
  /** Sends a batch of frames (batch.ts). Returns false when the channel is gone. */
  readonly send: (frames: Uint8Array) => boolean
  /** Told of every frame that could not be used. */
  readonly onInvalid: (error: SignalboxError) => void
}

interface Asking {
  readonly target: number
  readonly name: string
  readonly question: Message
  /** Milliseconds. */
  readonly deadline: number
  readonly cancel: CancelSignal | undefined
}

/** A question that waits for its answer. */
interface Open {
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: unknown) => void
  readonly timer: Timer
  readonly cancel: CancelSignal | undefined
  onAbort: (() => void) | undefined
}

export class Link {
  readonly #options: LinkOptions
  // Refs of different message types side by side; what arrives was encoded by the same version of the same catalogue.
  readonly #exported = new Map<number, LocalRef<Message>>()
  readonly #open = new Map<number, Open>()
  #batch: Uint8Array[] = []
  #correlation = 0
  #closed = false
  /** Frames sent, received and invalid, for the statistics. */
  readonly counters = { sent: 0, received: 0, invalid: 0 }

  constructor(options: LinkOptions) {
    this.#options = options
  }

  /** Lets the other side reach an actor of this process. */
  export<M extends Message>(address: Address, ref: LocalRef<M>): void {
    this.#exported.set(ADDRESSES[address], ref)
  }

  /** The ref of an actor at the other side. */
  remote<M extends Message>(address: Address): ActorRef<M> {
    const target = ADDRESSES[address]
    return {
      tell: (message) => this.#tell(target, message),
      ask: (question, deadline, cancel) => this.#ask({ target, name: address, question, deadline, cancel }),
    }
  }

  /** Questions waiting for an answer. */
  get open(): number {
    return this.#open.size
  }

  /** Takes in a batch that the channel delivered. */
  receive(frames: Uint8Array): void {
    try {
      splitFrames(frames, (start, end) => this.#take(frames, start, end))
    } catch (thrown) {
      this.#invalid(thrown)
    }
  }

  #take(frames: Uint8Array, start: number, end: number): void {
    this.counters.received++
    try {
      this.#dispatch(decodeFrame(frames, start, end))
    } catch (thrown) {
      this.#invalid(thrown)
    }
  }

  /** Sends what is waiting now rather than at the end of this turn. */
  flush(): void {
    if (this.#batch.length === 0) return
    const batch = this.#batch
    this.#batch = []
    if (!this.#options.send(joinFrames(batch))) this.close()
  }

  /** The channel is gone: open questions fail. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const gone = new SignalboxError('ACTOR_GONE', 'the process of the actor is gone')
    for (const correlation of this.#open.keys()) this.#settle(correlation)?.reject(gone)
    this.#batch = []
  }

  /** What can't be put into a frame is told to the operator: the sender of a `tell` waits for nothing. */
  #tell(target: number, message: Message): void {
    try {
      this.#send('tell', target, 0, message)
    } catch (thrown) {
      this.#invalid(thrown)
    }
  }

  #ask<A>({ target, name, question, deadline, cancel }: Asking): Promise<A> {
    if (cancel?.aborted === true) return Promise.reject(cancel.reason)
    if (this.#closed) return Promise.reject(new SignalboxError('ACTOR_GONE', 'the process of the actor is gone'))
    this.#correlation = (this.#correlation % 0xffff_ffff) + 1
    const correlation = this.#correlation
    return new Promise<A>((resolve, reject) => {
      // Throws, and so rejects, before anything waits for an answer.
      this.#send('ask', target, correlation, question)
      const timer = this.#options.clock.after(deadline, () => {
        const late = `actor ${name} did not answer "${question.type}" within ${deadline} ms`
        this.#settle(correlation)?.reject(new SignalboxError('ACTOR_DEADLINE', late))
      })
      const open: Open = { resolve: resolve as (answer: unknown) => void, reject, timer, cancel, onAbort: undefined }
      if (cancel !== undefined) {
        const onAbort = (): void => this.#settle(correlation)?.reject(cancel.reason)
        open.onAbort = onAbort
        cancel.addEventListener('abort', onAbort)
      }
      this.#open.set(correlation, open)
    })
  }

  /** @throws SignalboxError FRAME_INVALID for what can't be put into a frame */
  #send(kind: FrameKind, target: number, correlation: number, payload: unknown): void {
    if (this.#closed) return
    const bytes = encodeFrame({ kind, target, correlation, payload })
    if (this.#batch.length === 0) setImmediate(() => this.flush())
    this.#batch.push(bytes)
    this.counters.sent++
  }

  #invalid(thrown: unknown): void {
    this.counters.invalid++
    this.#options.onInvalid(asSignalboxError(thrown, 'FRAME_INVALID'))
  }

  #dispatch(frame: Frame): void {
    switch (frame.kind) {
      case 'tell':
      case 'ask': {
        const reply = this.#replyTo(frame.target, frame.correlation)
        const actor = this.#exported.get(frame.target)
        if (actor !== undefined && isMessage(frame.payload)) {
          actor.deliver(frame.payload, reply)
          return
        }
        const what = actor === undefined ? `no actor has the number ${frame.target}` : 'a frame carries no message'
        const error = new SignalboxError('FRAME_INVALID', what)
        reply.fail(error)
        throw error
      }
      case 'answer':
        this.#settle(frame.correlation)?.resolve(frame.payload)
        return
      case 'failure':
        this.#settle(frame.correlation)?.reject(errorFromWire(frame.payload))
        return
    }
  }

  #replyTo(target: number, correlation: number): Reply {
    return correlation === 0 ? NOBODY : new RemoteReply(this.#answer, target, correlation)
  }

  readonly #answer = (reply: RemoteReply, kind: 'answer' | 'failure', payload: unknown): void => {
    try {
      this.#send(kind, reply.target, reply.correlation, payload)
    } catch (thrown) {
      // An answer that no frame can carry: the asker is told so rather than left to its deadline.
      this.#invalid(thrown)
      this.#send('failure', reply.target, reply.correlation, errorToWire(asSignalboxError(thrown, 'FRAME_INVALID')))
    }
  }

  // An answer that comes after its deadline finds nothing: the asker was told already.
  #settle(correlation: number): Open | undefined {
    const open = this.#open.get(correlation)
    if (open === undefined) return undefined
    this.#open.delete(correlation)
    open.timer.cancel()
    if (open.onAbort !== undefined) open.cancel?.removeEventListener('abort', open.onAbort)
    return open
  }
}

/** Answers a question that came over the link, once. */
class RemoteReply implements Reply {
  readonly target: number
  readonly correlation: number
  readonly #send: (reply: RemoteReply, kind: 'answer' | 'failure', payload: unknown) => void
  wanted = true

  constructor(send: (reply: RemoteReply, kind: 'answer' | 'failure', payload: unknown) => void, target: number, correlation: number) {
    this.#send = send
    this.target = target
    this.correlation = correlation
  }

  to<Q extends Question<unknown>>(_question: Q, answer: AnswerOf<Q>): void {
    if (!this.wanted) return
    this.wanted = false
    this.#send(this, 'answer', answer)
  }

  fail(error: Error): void {
    if (!this.wanted) return
    this.wanted = false
    this.#send(this, 'failure', errorToWire(error))
  }
}

function isMessage(payload: unknown): payload is Message {
  return typeof payload === 'object' && payload !== null && 'type' in payload && typeof payload.type === 'string'
}
