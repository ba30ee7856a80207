/**
 * `signalbox serve FILE`: the instance itself. Checks the configuration, starts the primary, and turns signals into what
 * they mean: SIGINT and SIGTERM drain, a second one ends at once; during the start they give it up, which is an end as asked
 * for, too. Signals that mean nothing (yet) must not end every session, nor open Node's debugger, which SIGUSR1 does by
 * default: they are ignored with a warning. A service manager that started us is told how things stand (notify.ts).
 */
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../clock.ts'
import { tuneCollector } from '../collector.ts'
import { loadConfig } from '../config/load.ts'
import type { Loaded } from '../config/load.ts'
import { mistakeText } from '../config/mistake.ts'
import type { Config } from '../config/config.ts'
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

/** Runs until a signal ends it. Resolves with the exit status: 0 ended as asked, 1 could not start or go on, 2 mistakes in the configuration. */
export async function serve(path: string, env: NodeJS.ProcessEnv, err: (text: string) => void): Promise<number> {
  tuneCollector('primary')
  // From here on an end is asked for, not forced.
  const asked = new Asked()
  const loaded = await loadConfig(path, env)
  if (!loaded.ok) {
    err(`${path}: ${loaded.mistakes.length} ${loaded.mistakes.length === 1 ? 'mistake' : 'mistakes'}\n`)
    for (const mistake of loaded.mistakes) err(`  ${mistakeText(mistake)}\n`)
    // Perhaps it was meant as a command.
    if (/^[a-z]+$/.test(path)) err('(signalbox --help names the commands)\n')
    return 2
  }
  if (asked.times > 0) return 0
  const load = (current: Config): Promise<Loaded> => loadConfig(path, env, { redactionKey: current.log.redactionKey })
  return run(loaded, load, asked, err)
}

/** How often SIGINT and SIGTERM have come, and what the next one does. */
class Asked {
  times = 0
  again: (times: number) => void = () => {}

  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => this.again(++this.times))
  }
}

type Sound = Extract<Loaded, { readonly ok: true }>

async function run(
  { config, warnings }: Sound,
  load: (current: Config) => Promise<Loaded>,
  asked: Asked,
  err: (text: string) => void,
): Promise<number> {
  const terminal = process.stdout.isTTY
  const log = createLog({ level: config.server.logLevel, format: config.server.logFormat, isTerminal: terminal, clock: systemClock })
  const { logger } = log
  process.on('exit', () => log.flushSync())
  logWarnings(logger)
  process.on('uncaughtExceptionMonitor', (error) => {
    primaryCrashed(logger, { error })
  })
  for (const warning of warnings) configWarning(logger, { warning })

  const ended = Promise.withResolvers<number>()
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
      return
    }
    notify.stopping()
    primary.stop(primary.config.server.shutdownGrace).then(
      () => ended.resolve(0),
      (error: unknown) => ended.resolve(failure(asSignalboxError(error))),
    )
  }
  process.on('SIGUSR1', () => signalIgnored(logger, { signal: 'SIGUSR1' }))
  process.on('SIGUSR2', () => primary.roll('signal'))
  // A terminal that is closed takes with it what was started in it.
  if (!terminal) {
    process.on('SIGHUP', () => {
      primary.reload('signal').catch((error: unknown) => reloadFailed(logger, { error: asSignalboxError(error) }))
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
  const status = await Promise.race([started, ended.promise])
  await notify.close()
  await log.flush()
  return status
}
