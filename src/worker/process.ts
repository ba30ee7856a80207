/**
 * The life of a worker's process: waits for the primary's start envelope, hands on what the channel delivers, and ends
 * when the primary is gone. The terminal's Ctrl-C reaches every process of the group; what it means is for the primary
 * to decide, so a worker ignores it.
 */
import { Socket } from 'node:net'
import { systemClock } from '../clock.ts'
import { tuneCollector } from '../collector.ts'
import type { FramesEnvelope, StartEnvelope, ToPrimary, ToWorker } from '../cluster/channel.ts'
import { asSignalboxError } from '../errors.ts'
import { openLookup } from '../mapping/open.ts'
import { workerCrashed, workerFailed } from '../observe/events.ts'
import { createLog } from '../observe/log.ts'
import type { Log } from '../observe/log.ts'
import { dropPrivileges } from '../cluster/privileges.ts'
import { expectSocketLists } from '../cluster/socket-lists.ts'
import { logWarnings } from '../observe/process-warnings.ts'
import { createRedactor } from '../observe/redaction.ts'
import { loadHttp, Worker } from './worker.ts'

export function runWorker(): void {
  tuneCollector('worker')
  let worker: Worker | undefined
  // What comes while the worker is being put together; nothing but pings and an early drain, since it hasn't joined yet.
  let early: FramesEnvelope[] = []
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => {})
  process.on('SIGHUP', () => {})
  process.on('SIGUSR2', () => {})
  // Node would open a debugger's port, through which every local user is this process.
  process.on('SIGUSR1', () => {})
  process.on('message', (envelope: ToWorker, handle: unknown) => {
    if (envelope.t === 'start' || envelope.t === 'settings') expectSocketLists(process, envelope.settings.listeners)
    if (envelope.t === 'start') {
      start(envelope, (begun) => {
        worker = begun
        for (const waiting of early) begun.envelope(waiting, undefined)
        early = []
      })
    } else if (worker !== undefined) worker.envelope(envelope, handle instanceof Socket ? handle : undefined)
    else if (envelope.t === 'frames') early.push(envelope)
  })
}

function start(envelope: StartEnvelope, begun: (worker: Worker) => void): void {
  const { server } = envelope.settings.config
  const log = createLog({
    level: server.logLevel,
    format: server.logFormat,
    isTerminal: envelope.terminal,
    clock: systemClock,
    worker: envelope.worker,
  })
  process.on('exit', () => log.flushSync())
  logWarnings(log.logger)
  process.on('uncaughtExceptionMonitor', (error) => {
    workerCrashed(log.logger, { error })
  })
  begin(envelope, log, begun).catch((thrown: unknown) => fail(log, thrown))
}

async function begin(envelope: StartEnvelope, log: Log, begun: (worker: Worker) => void): Promise<void> {
  const { config } = envelope.settings
  const lookup = await openLookup(
    { mapping: config.mapping, clock: systemClock, log: log.logger, redact: createRedactor(config.log) },
    config.server.threads,
  )
  const surroundings = {
    clock: systemClock,
    log,
    send,
    // Leaving the channel ends a cluster worker's process.
    leave: () => process.disconnect?.(),
    dropTo: dropPrivileges,
    random: Math.random,
  }
  const http = await loadHttp(config.listeners)
  const worker = new Worker(envelope, surroundings, lookup, http)
  begun(worker)
  await worker.begin()
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
  workerFailed(log.logger, { error })
  send({ t: 'failed', message: error.message })
}
