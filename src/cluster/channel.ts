/**
 * What travels over the cluster's IPC beside the actors' frames, and how: a few envelopes, told apart by `t`. The channel
 * uses the advanced (structured clone) serialisation, so that frames go as bytes.
 */
import type { Config } from '../config/config.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import type { KeyPair } from '../tls/certificates.ts'
import type { Identity } from './privileges.ts'
import type { Verdict } from '../primary/health.ts'

/** What a worker works by. A reload gives it others. */
export interface Settings {
  /** Counts the reloads that came into force. */
  readonly generation: number
  readonly config: Config
  /** Those of the configuration. */
  readonly listeners: readonly NumberedListener[]
  /** Those that a connection on its way may still name. */
  readonly retired: readonly NumberedListener[]
  /** 48 bytes, the same in all workers. */
  readonly ticketKeys: Uint8Array
  /** The self-signed certificate for when none is configured. */
  readonly fallback: KeyPair | undefined
}

/** Primary → worker, first of all: everything a worker needs to begin. */
export interface StartEnvelope {
  readonly t: 'start'
  readonly worker: number
  readonly settings: Settings
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
  /** Its number (listener/numbered.ts). */
  readonly listener: number
  /** Clock time at which it was sent; comparable on one host. */
  readonly at: number
  readonly address: string
  readonly port: number
}

/** Primary → worker: to be looked at when it is asked to prepare for them, and used when it is told so. */
export interface SettingsEnvelope {
  readonly t: 'settings'
  readonly settings: Settings
}

/** Either way: frames of actors, a batch (actor/batch.ts). */
export interface FramesEnvelope {
  readonly t: 'frames'
  readonly frames: Uint8Array
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

export type ToWorker = StartEnvelope | SettingsEnvelope | ConnectionEnvelope | FramesEnvelope
export type ToPrimary = JoinedEnvelope | ReadyEnvelope | FailedEnvelope | FramesEnvelope
