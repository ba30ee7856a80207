/**
 * The life of a worker's process: waits for the primary's start envelope, hands on what the channel delivers, and ends
 * when the primary is gone. The terminal's Ctrl-C reaches every process of the group; what it means is for the primary
 * to decide, so a worker ignores it.
 */
import { Socket } from 'node:net'
import { systemClock } from '../clock.ts'
import type { ConnectionEnvelope, FramesEnvelope, StartEnvelope, ToPrimary, ToWorker } from '../cluster/channel.ts'
import { asSignalboxError } from '../errors.ts'
import { createLog } from '../observe/log.ts'
import type { Log } from '../observe/log.ts'
import { dropPrivileges } from '../cluster/privileges.ts'
import { Worker } from './worker.ts'

export function runWorker(): void {
  let worker: Worker | undefined
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => {})
  process.on('SIGHUP', () => {})
  process.on('message', (envelope: ToWorker, handle: unknown) => {
    if (envelope.t === 'start') worker = start(envelope)
    else deliver(worker, envelope, handle)
  })
}

function deliver(worker: Worker | undefined, envelope: ConnectionEnvelope | FramesEnvelope, handle: unknown): void {
  worker?.envelope(envelope, handle instanceof Socket ? handle : undefined)
}

function start(envelope: StartEnvelope): Worker {
  const { server } = envelope.config
  const log = createLog({
    level: server.logLevel,
    format: server.logFormat,
    isTerminal: envelope.terminal,
    clock: systemClock,
    worker: envelope.worker,
  })
  process.on('exit', () => log.flushSync())
  process.on('uncaughtExceptionMonitor', (error) => {
    log.logger.fatal({ event: 'worker_crashed', error }, 'a worker ends because of a mistake of ours')
  })
  const worker = new Worker(envelope, {
    clock: systemClock,
    log,
    send,
    // Leaving the channel ends a cluster worker's process.
    leave: () => process.disconnect?.(),
    dropTo: dropPrivileges,
    random: Math.random,
  })
  worker.begin().catch((thrown: unknown) => fail(log, thrown))
  return worker
}

function send(envelope: ToPrimary): boolean {
  if (!process.connected || process.send === undefined) return false
  process.send(envelope, undefined, undefined, (error) => {
    // The primary is gone; the channel's end will say so.
    if (error !== null && process.connected) process.disconnect?.()
  })
  return true
}

function fail(log: Log, thrown: unknown): void {
  const error = asSignalboxError(thrown)
  log.logger.fatal({ event: 'worker_failed', error }, 'a worker cannot begin')
  send({ t: 'failed', message: error.message })
}
