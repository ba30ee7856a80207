/**
 * An actor owns its state and handles one message at a time. `spawn` turns a behaviour into a running actor with a
 * bounded mailbox and a ref. A message that arrives while none is being handled is handled at once, in the sender's
 * turn of the event loop; one that arrives from within a handler waits. So a handler never awaits and is never
 * entered twice, and an in-process `ask` costs no trip through the event loop.
 *
 * A handler that throws has crashed: the crash is counted and told to `onCrash`, the question is answered with the
 * error, and the behaviour decides in `crashed` whether it goes on with fresh state or, by throwing, ends the process.
 * That end is not thrown into the sender's stack, where a link or a session would take it for a failure of its own
 * and live on beside an actor without a state: the actor stops and `fatal` is told.
 */
import type { CancelSignal } from '../cancel.ts'
import type { Clock, Timer } from '../clock.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { MAILBOX } from '../limits.ts'
import { Mailbox } from './mailbox.ts'
import type { MailboxCounters } from './mailbox.ts'
import type { ActorRef, AnswerOf, Message, OfType, Question, Reply } from './message.ts'

/** What an actor does. Implemented by a class that holds the state. */
export interface Behaviour<M extends Message> {
  /** Handles one message. Must not await. */
  receive(message: M, reply: Reply): void
  /** A message found the mailbox full. Called instead of `receive`, possibly while another message is being handled: it may only note the fact. */
  overflow?(message: M): void
  /** The handler threw: restore a state that is safe, or rethrow to end the process. */
  crashed(error: SignalboxError, message: M): void
}

export interface ActorOptions {
  readonly name: string
  readonly clock: Clock
  /** Messages that may wait. Default: limits.MAILBOX. */
  readonly bound?: number
  /** Told of every crash, for the log. */
  readonly onCrash?: (name: string, type: string, error: SignalboxError) => void
  /** The behaviour can't go on after a crash; the actor has stopped. Default: an uncaught exception, which ends the process. */
  readonly fatal?: (error: unknown) => void
}

export interface ActorCounters extends MailboxCounters {
  readonly crashes: number
}

/** A running actor. */
export interface RunningActor<M extends Message> {
  readonly name: string
  readonly ref: LocalRef<M>
  readonly counters: ActorCounters
  /** Stops taking messages; waiting and later questions fail with ACTOR_GONE. Idempotent. */
  stop(): void
}

interface Envelope<M> {
  readonly message: M
  readonly reply: Reply
}

/** The reply to a message that wants no answer. */
export const NOBODY: Reply = {
  to() {},
  fail() {},
  wanted: false,
}

/** A ref within this process. `deliver` is for links that carry frames to it. */
export interface LocalRef<M extends Message> extends ActorRef<M> {
  /** Hands over a message with its own reply. */
  deliver(message: M, reply: Reply): void
}

export function spawn<M extends Message>(behaviour: Behaviour<M>, options: ActorOptions): RunningActor<M> {
  return new Running(behaviour, options)
}

class Running<M extends Message> implements RunningActor<M>, LocalRef<M> {
  readonly name: string
  readonly ref: LocalRef<M> = this
  readonly #behaviour: Behaviour<M>
  readonly #clock: Clock
  readonly #mailbox: Mailbox<Envelope<M>>
  readonly #onCrash: ActorOptions['onCrash']
  readonly #fatal: (error: unknown) => void
  #busy = false
  #stopped = false
  #crashes = 0

  constructor(behaviour: Behaviour<M>, options: ActorOptions) {
    this.name = options.name
    this.#behaviour = behaviour
    this.#clock = options.clock
    this.#mailbox = new Mailbox(options.bound ?? MAILBOX)
    this.#onCrash = options.onCrash
    this.#fatal = options.fatal ?? endProcess
  }

  get counters(): ActorCounters {
    return { ...this.#mailbox.counters, crashes: this.#crashes }
  }

  tell(message: M): void {
    this.deliver(message, NOBODY)
  }

  ask<T extends M['type']>(
    question: OfType<M, T> & { readonly type: T },
    deadline: number,
    cancel?: CancelSignal,
  ): Promise<AnswerOf<OfType<M, T>>> {
    const { promise, resolve, reject } = Promise.withResolvers<AnswerOf<OfType<M, T>>>()
    const reply = new PendingReply({
      resolve: resolve as (answer: unknown) => void,
      reject,
      clock: this.#clock,
      deadline,
      name: this.name,
      question: question.type,
      cancel,
    })
    if (reply.wanted) this.deliver(question, reply)
    return promise
  }

  deliver(message: M, reply: Reply): void {
    if (this.#stopped) {
      reply.fail(new SignalboxError('ACTOR_GONE', `actor ${this.name} has stopped`))
      return
    }
    if (!this.#mailbox.push({ message, reply })) {
      this.#behaviour.overflow?.(message)
      reply.fail(new SignalboxError('ACTOR_MAILBOX_FULL', `the mailbox of actor ${this.name} is full`))
      return
    }
    if (!this.#busy) this.#run()
  }

  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    for (let envelope = this.#mailbox.shift(); envelope !== undefined; envelope = this.#mailbox.shift()) {
      envelope.reply.fail(new SignalboxError('ACTOR_GONE', `actor ${this.name} has stopped`))
    }
  }

  #run(): void {
    this.#busy = true
    try {
      for (let envelope = this.#mailbox.shift(); envelope !== undefined; envelope = this.#mailbox.shift()) {
        this.#handle(envelope)
      }
    } finally {
      this.#busy = false
    }
  }

  #handle({ message, reply }: Envelope<M>): void {
    try {
      this.#behaviour.receive(message, reply)
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      this.#crashes++
      this.#onCrash?.(this.name, message.type, error)
      reply.fail(error)
      this.#recover(error, message)
    }
  }

  #recover(error: SignalboxError, message: M): void {
    try {
      this.#behaviour.crashed(error, message)
    } catch (fatal) {
      this.stop()
      this.#fatal(fatal)
    }
  }
}

function endProcess(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

interface Asking {
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: unknown) => void
  readonly clock: Clock
  /** Milliseconds. */
  readonly deadline: number
  /** Who did not answer what, if it passes. */
  readonly name: string
  readonly question: string
  readonly cancel: CancelSignal | undefined
}

/** A reply that settles a promise once, within its deadline and while the asker wants it. */
class PendingReply implements Reply {
  readonly #asking: Asking
  readonly #timer: Timer | undefined
  readonly #onAbort: (() => void) | undefined
  #settled = false

  constructor(asking: Asking) {
    this.#asking = asking
    const { clock, deadline, name, question, cancel } = asking
    if (cancel?.aborted === true) {
      this.#settled = true
      asking.reject(cancel.reason)
      return
    }
    this.#timer = clock.after(deadline, () => {
      this.fail(new SignalboxError('ACTOR_DEADLINE', `actor ${name} did not answer "${question}" within ${deadline} ms`))
    })
    if (cancel === undefined) return
    this.#onAbort = () => {
      if (this.#settle()) asking.reject(cancel.reason)
    }
    cancel.addEventListener('abort', this.#onAbort)
  }

  get wanted(): boolean {
    return !this.#settled
  }

  to<Q extends Question<unknown>>(_question: Q, answer: AnswerOf<Q>): void {
    if (this.#settle()) this.#asking.resolve(answer)
  }

  fail(error: Error): void {
    if (this.#settle()) this.#asking.reject(error)
  }

  /** False: it was settled before. */
  #settle(): boolean {
    if (this.#settled) return false
    this.#settled = true
    this.#timer?.cancel()
    if (this.#onAbort !== undefined) this.#asking.cancel?.removeEventListener('abort', this.#onAbort)
    return true
  }
}
