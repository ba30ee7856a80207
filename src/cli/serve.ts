/**
 * `signalbox serve FILE`: the instance itself. Checks the configuration, starts the primary, and turns signals into what
 * they mean: SIGINT and SIGTERM drain, a second one ends at once; during the start they give it up, which is an end as asked
 * for, too. Signals that mean nothing (yet) must not end every session, nor open Node's debugger, which SIGUSR1 does by
 * default: they are ignored with a warning, those as well that came before this was read (early-signals.ts). A service
 * manager that started us is told how things stand (notify.ts).
 */
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../clock.ts'
import { tuneCollector } from '../collector.ts'
import { loadConfig } from '../config/load.ts'
import type { Loaded } from '../config/load.ts'
import { mistakeText } from '../config/mistake.ts'
import type { Config } from '../config/config.ts'
import type { EarlySignal, EarlySignals } from '../early-signals.ts'
import { asSignalboxError } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { configWarning, instanceFailed, primaryCrashed, reloadFailed, signalIgnored } from '../observe/events.ts'
import { createLog } from '../observe/log.ts'
import { logWarnings } from '../observe/process-warnings.ts'
import { mappingMistakes } from './check-mapping.ts'
import { Notifier, serviceManager } from './notify.ts'
import { Primary } from '../primary/primary.ts'
import { VERSION } from '../version.ts'

/** `.ts` as checked out, `.js` as built. */
const EXTENSION = extname(import.meta.filename)

/** After the second signal: how long what is under way may take to its end, and a log that nobody reads. */
const AT_ONCE_MS = 250

/** Runs until a signal ends it. Resolves with the exit status: 0 ended as asked, 1 could not start or go on, 2 mistakes in the configuration. */
export async function serve(path: string, env: NodeJS.ProcessEnv, err: (text: string) => void, early: EarlySignals): Promise<number> {
  tuneCollector('primary')
  const asked = new Asked(early)
  const loaded = await loadConfig(path, env)
  if (asked.times > 0) return 0
  if (!loaded.ok) {
    err(`${path}: ${loaded.mistakes.length} ${loaded.mistakes.length === 1 ? 'mistake' : 'mistakes'}\n`)
    for (const mistake of loaded.mistakes) err(`  ${mistakeText(mistake)}\n`)
    // Perhaps it was meant as a command.
    if (/^[a-z]+$/.test(path)) err('(signalbox --help names the commands)\n')
    return 2
  }
  const load = (current: Config): Promise<Loaded> => loadConfig(path, env, { redactionKey: current.log.redactionKey })
  return run(loaded, load, asked, early, err)
}

/** How often SIGINT and SIGTERM have come, and what the next one does. */
class Asked {
  times = 0
  again: (times: number) => void = () => {}

  constructor(early: EarlySignals) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) this.times += early.take(signal, () => this.again(++this.times))
  }
}

type Sound = Extract<Loaded, { readonly ok: true }>

async function run(
  { config, warnings }: Sound,
  load: (current: Config) => Promise<Loaded>,
  asked: Asked,
  early: EarlySignals,
  err: (text: string) => void,
): Promise<number> {
  const terminal = process.stdout.isTTY
  const log = createLog({ level: config.server.logLevel, format: config.server.logFormat, isTerminal: terminal, clock: systemClock })
  const { logger } = log
  process.on('exit', () => log.flushSync(asked.times > 1 ? AT_ONCE_MS : undefined))
  logWarnings(logger)
  process.on('uncaughtExceptionMonitor', (error) => {
    primaryCrashed(logger, { error })
  })
  for (const warning of warnings) configWarning(logger, { warning })

  const ended = Promise.withResolvers<number>()
  /** A moment after the second signal: nothing is waited for any more. */
  const enough = Promise.withResolvers<number>()
  const primary = new Primary({
    config,
    clock: systemClock,
    log: logger,
    version: VERSION,
    workerEntry: fileURLToPath(new URL(`../../workers/session${EXTENSION}`, import.meta.url)),
    terminal,
    random: Math.random,
    load,
    reloading: (over) => {
      notify.reloading()
      void over.then(() => notify.ready())
    },
    fatal: (error) => ended.resolve(failure(error)),
  })
  const failure = (error: SignalboxError): number => {
    instanceFailed(logger, { error })
    return error.code === 'CONFIG_INVALID' || error.code === 'SOURCE_INVALID' ? 2 : 1
  }
  const notify = new Notifier({ clock: systemClock, log: logger, alive: () => primary.alive, ...serviceManager(process.env, process.pid, systemClock) })
  let up = false
  asked.again = (times) => {
    if (times > 1) {
      primary.kill()
      if (!up) ended.resolve(0)
      systemClock.after(AT_ONCE_MS, () => enough.resolve(0), { keepAlive: true })
      return
    }
    notify.stopping()
    primary.stop(primary.config.server.shutdownGrace).then(
      () => ended.resolve(0),
      (error: unknown) => ended.resolve(failure(asSignalboxError(error))),
    )
  }
  /** `meant`: whether it means something now. What came before this ran came too early for any of them. */
  const heed = (signal: EarlySignal, meant: () => boolean): void => {
    const ignored = (): void => signalIgnored(logger, { signal })
    const before = early.take(signal, () => {
      if (!meant()) ignored()
    })
    if (before > 0) ignored()
  }
  heed('SIGUSR1', () => false)
  heed('SIGUSR2', () => primary.roll('signal'))
  // A terminal that is closed takes with it what was started in it.
  if (terminal) early.release('SIGHUP')
  else {
    heed('SIGHUP', () => {
      if (up) primary.reload('signal').catch((error: unknown) => reloadFailed(logger, { error: asSignalboxError(error) }))
      return up
    })
  }
  const started = primary.start().then(
    () => {
      up = true
      notify.ready()
      return ended.promise
    },
    (error: unknown) => {
      // Whatever came of a start that nobody wanted any more.
      if (asked.times > 0) return ended.promise
      const status = failure(asSignalboxError(error))
      for (const line of mappingMistakes(error)) err(`  ${line}\n`)
      return status
    },
  )
  // The end may come while a step of the start still takes its time.
  const status = await Promise.race([started, ended.promise, enough.promise])
  await Promise.race([notify.close().then(() => log.flush()), enough.promise])
  return status
}
