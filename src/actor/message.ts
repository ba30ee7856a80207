/**
 * The vocabulary of the actors. An actor's messages are a union of small types told apart by `type`; a message that
 * wants an answer is a Question, which carries the type of its answer and nothing else at run time.
 */
import type { CancelSignal } from '../cancel.ts'

export interface Message {
  readonly type: string
}

/** Phantom: never set. Carries the type of the answer. */
declare const answer: unique symbol

/** A message that is answered with an `A`. */
export interface Question<A> extends Message {
  readonly [answer]?: A
}

/** The answer that a question gets. */
export type AnswerOf<Q> = Q extends { readonly [answer]?: infer A } ? A : never

/** The messages of a catalogue that have this `type`. */
export type OfType<M extends Message, T extends string> = Extract<M, { readonly type: T }>

/** The way to reach an actor, wherever it lives. The sender cannot tell. */
export interface ActorRef<M extends Message> {
  /** Sends without an answer. Never throws; what happens when the mailbox is full is the actor's own rule. */
  tell(message: M): void
  /**
   * Sends and waits for the answer, at most `deadline` milliseconds. Rejects with ACTOR_DEADLINE, ACTOR_MAILBOX_FULL,
   * ACTOR_GONE (process or actor went away), FRAME_INVALID (it can't be put into a frame), the SignalboxError that the
   * actor answered with, or the reason of `cancel` when that aborts first: the answer is of no interest any more then.
   */
  ask<T extends M['type']>(
    question: OfType<M, T> & { readonly type: T },
    deadline: number,
    cancel?: CancelSignal,
  ): Promise<AnswerOf<OfType<M, T>>>
}

/** How a handler answers a question, now or later. A second answer is ignored; for a `tell` it goes nowhere. */
export interface Reply {
  to<Q extends Question<unknown>>(question: Q, answer: AnswerOf<Q>): void
  fail(error: Error): void
  /** Whether somebody waits. */
  readonly wanted: boolean
}
