/**
 * What travels over the cluster's IPC beside the actors' frames, and how: a few envelopes, told apart by `t`. The channel
 * uses the advanced (structured clone) serialisation, so that frames go as bytes.
 */
import type { Config } from '../config/config.ts'
import type { KeyPair } from '../tls/certificates.ts'
import type { Identity } from './privileges.ts'
import type { Verdict } from '../primary/health.ts'

/** Primary → worker, first of all: everything a worker needs to begin. */
export interface StartEnvelope {
  readonly t: 'start'
  readonly worker: number
  readonly config: Config
  /** 48 bytes, the same in all workers. */
  readonly ticketKeys: Uint8Array
  /** The self-signed certificate for when none is configured. */
  readonly fallback: KeyPair | undefined
  readonly verdicts: readonly Verdict[]
  /** The log goes to a terminal. */
  readonly terminal: boolean
  /** To drop to after listening (`distribution = "kernel"` on privileged ports), else undefined. */
  readonly identity: Identity | undefined
}

/** Primary → worker, with the socket's handle. */
export interface ConnectionEnvelope {
  readonly t: 'connection'
  readonly id: number
  /** Index in config.listeners. */
  readonly listener: number
  /** Clock time at which it was sent; comparable on one host. */
  readonly at: number
  readonly address: string
  readonly port: number
}

/** Either way: frames of actors. */
export interface FramesEnvelope {
  readonly t: 'frames'
  readonly frames: Uint8Array[]
}

/** Worker → primary: actors are exported; the worker must be told of every invalidation from now on. */
export interface JoinedEnvelope {
  readonly t: 'joined'
}

/** Worker → primary: it can serve connections, and listens where it listens itself. */
export interface ReadyEnvelope {
  readonly t: 'ready'
}

/** Worker → primary: it can't begin. */
export interface FailedEnvelope {
  readonly t: 'failed'
  readonly message: string
}

export type ToWorker = StartEnvelope | ConnectionEnvelope | FramesEnvelope
export type ToPrimary = JoinedEnvelope | ReadyEnvelope | FailedEnvelope | FramesEnvelope
