/**
 * `signalbox serve FILE`: the instance itself. Checks the configuration, starts the primary, and turns signals into what
 * they mean: SIGINT and SIGTERM drain, a second one ends at once. Signals that mean nothing (yet) must not end every
 * session, nor open Node's debugger, which SIGUSR1 does by default: they are ignored with a warning.
 */
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../clock.ts'
import { loadConfig } from '../config/load.ts'
import { mistakeText } from '../config/mistake.ts'
import type { Config } from '../config/config.ts'
import { asSignalboxError } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import { configWarning, instanceFailed, primaryCrashed, signalIgnored } from '../observe/events.ts'
import { createLog } from '../observe/log.ts'
import { mappingMistakes } from './check-mapping.ts'
import { Primary } from '../primary/primary.ts'
import { VERSION } from '../version.ts'

/** `.ts` as checked out, `.js` as built. */
const EXTENSION = extname(import.meta.filename)

/** Runs until a signal ends it. Resolves with the exit status: 0 ended as asked, 1 could not start or go on, 2 mistakes in the configuration. */
export async function serve(path: string, env: NodeJS.ProcessEnv, err: (text: string) => void): Promise<number> {
  const loaded = await loadConfig(path, env)
  if (!loaded.ok) {
    err(`${path}: ${loaded.mistakes.length} ${loaded.mistakes.length === 1 ? 'mistake' : 'mistakes'}\n`)
    for (const mistake of loaded.mistakes) err(`  ${mistakeText(mistake)}\n`)
    return 2
  }
  return run(loaded.config, loaded.warnings, err)
}

async function run(config: Config, warnings: readonly string[], err: (text: string) => void): Promise<number> {
  const terminal = process.stdout.isTTY
  const log = createLog({ level: config.server.logLevel, format: config.server.logFormat, isTerminal: terminal, clock: systemClock })
  const { logger } = log
  process.on('exit', () => log.flushSync())
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
    fatal: (error) => ended.resolve(failure(error)),
  })
  const failure = (error: SignalboxError): number => {
    instanceFailed(logger, { error })
    return error.code === 'CONFIG_INVALID' || error.code === 'SOURCE_INVALID' ? 2 : 1
  }
  let asked = 0
  const end = (): void => {
    asked++
    if (asked > 1) {
      primary.kill()
      return
    }
    primary.stop(config.server.shutdownGrace).then(
      () => ended.resolve(0),
      (error: unknown) => ended.resolve(failure(asSignalboxError(error))),
    )
  }
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
    // A terminal that is closed takes with it what was started in it.
    if (signal !== 'SIGHUP' || !terminal) process.on(signal, () => signalIgnored(logger, { signal }))
  }
  try {
    await primary.start()
  } catch (error) {
    const status = failure(asSignalboxError(error))
    for (const line of mappingMistakes(error)) err(`  ${line}\n`)
    await log.flush()
    return status
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  const status = await ended.promise
  await log.flush()
  return status
}
