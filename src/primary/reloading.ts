/**
 * A reload carried out: read and check, let every part of the instance make ready beside what is in force, and when all of
 * them are, let all take over in one turn of the event loop; or none, and everything stays as it was. One reload at a time;
 * of those that wait all get the result of the next.
 */
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import type { Loaded } from '../config/load.ts'
import { mistakeText } from '../config/mistake.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { ConfigReloadAnswer } from '../management/operations.ts'
import { mistakesOf } from '../mapping/mistakes.ts'
import * as events from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { planReload } from './reload.ts'
import type { Plan } from './reload.ts'

/** Ready to take over. Exactly one of the two is called; neither may throw. */
export interface Ready {
  commit(): void
  abort(): void
}

/** Something of the instance that a reload concerns. Parts are made ready one after the other, and take over in that order. */
export interface Part {
  /** Rejects with why it can't be: CONFIG_INVALID, SOURCE_INVALID, SOURCE_UNAVAILABLE, LISTEN_FAILED. */
  prepare(plan: Plan): Promise<Ready>
}

export interface Outcome {
  /** Workers that have confirmed, and those that had to. */
  readonly workers: number
  readonly workersExpected: number
}

export interface ReloaderOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Reads and checks the file. */
  readonly load: (current: Config) => Promise<Loaded>
  readonly config: () => Config
  readonly state: () => 'starting' | 'ready' | 'draining'
  /** For one reload. */
  readonly parts: () => readonly Part[]
  /** All have taken over: what follows from it, and who has confirmed. */
  readonly after: (plan: Plan) => Promise<Outcome>
  /** One begins, in an instance that serves; `over` resolves when it is over, whatever came of it. */
  readonly begins: (over: Promise<void>) => void
  /** Half of the parts have taken over: the instance can't go on. */
  readonly fatal: (error: SignalboxError) => void
}

/** Refusals that say what is wrong with the configuration, rather than with us. */
const MISTAKES: ReadonlySet<ErrorCode> = new Set(['CONFIG_INVALID', 'SOURCE_INVALID', 'SOURCE_UNAVAILABLE', 'LISTEN_FAILED'])

export class Reloader {
  readonly #options: ReloaderOptions
  #running: Promise<ConfigReloadAnswer> | undefined
  #next: Promise<ConfigReloadAnswer> | undefined

  constructor(options: ReloaderOptions) {
    this.#options = options
  }

  /** Rejects with DRAINING when the instance isn't ready, and for defects of ours; nothing has changed then. */
  reload(by: 'signal' | 'management'): Promise<ConfigReloadAnswer> {
    if (this.#running === undefined) return this.#begin(by)
    const begin = (): Promise<ConfigReloadAnswer> => {
      this.#next = undefined
      return this.#begin(by)
    }
    this.#next ??= this.#running.then(begin, begin)
    return this.#next
  }

  #begin(by: 'signal' | 'management'): Promise<ConfigReloadAnswer> {
    const unready = this.#unready()
    // Nothing begins, so nobody may be told that it is over: a service manager would take that for the end of the start.
    if (unready !== undefined) return Promise.reject(unready)
    const over = Promise.withResolvers<void>()
    this.#options.begins(over.promise)
    const running = this.#reload(by).finally(() => {
      this.#running = undefined
      over.resolve()
    })
    this.#running = running
    return running
  }

  async #reload(by: 'signal' | 'management'): Promise<ConfigReloadAnswer> {
    const { clock, log, load, config, parts, after } = this.#options
    const began = clock.now()
    const loaded = await load(config())
    if (!loaded.ok) return this.#refused(by, loaded.mistakes.map(mistakeText))
    const meanwhile = this.#unready()
    if (meanwhile !== undefined) throw meanwhile
    const plan = planReload(config(), loaded.config)
    const { ready, mistakes, defect } = await makeReady(parts(), plan)
    const wrong = defect ?? this.#unready()
    if (wrong !== undefined || mistakes.length > 0) {
      for (const one of ready.reverse()) one.abort()
      if (wrong !== undefined) throw wrong
      return this.#refused(by, mistakes)
    }
    this.#commit(ready)
    for (const warning of loaded.warnings) events.configWarning(log, { warning })
    const { workers, workersExpected } = await after(plan)
    const { changed, restart, roll } = plan
    const seconds = Math.round(clock.now() - began) / 1000
    events.configReloaded(log, { by, changed, restart, workers, workers_expected: workersExpected, seconds })
    const { warnings } = loaded
    const confirmation = { workers, workersExpected, peers: [], bus: 'none' as const }
    return { ok: true, note: noteOf(plan), changed, restart, warnings, rolling: roll, confirmation }
  }

  #commit(ready: readonly Ready[]): void {
    try {
      for (const one of ready) one.commit()
    } catch (thrown) {
      const error = new SignalboxError('INTERNAL', 'half of a reload is in force', { cause: thrown })
      this.#options.fatal(error)
      throw error
    }
  }

  #refused(by: 'signal' | 'management', mistakes: readonly string[]): ConfigReloadAnswer {
    events.configRefused(this.#options.log, { by, count: mistakes.length, mistakes })
    return { ok: false, mistakes }
  }

  #unready(): SignalboxError | undefined {
    const state = this.#options.state()
    return state === 'ready' ? undefined : new SignalboxError('DRAINING', state === 'starting' ? 'the instance is still starting' : 'the instance is shutting down')
  }
}

interface Made {
  readonly ready: Ready[]
  readonly mistakes: readonly string[]
  /** What is no mistake of the configuration. */
  readonly defect: SignalboxError | undefined
}

/** Every part, also after one that can't be: all mistakes are told at once. */
async function makeReady(parts: readonly Part[], plan: Plan): Promise<Made> {
  const ready: Ready[] = []
  const mistakes: string[] = []
  let defect: SignalboxError | undefined
  for (const part of parts) {
    try {
      ready.push(await part.prepare(plan))
    } catch (thrown) {
      const error = asSignalboxError(thrown)
      if (MISTAKES.has(error.code)) mistakes.push(...linesOf(error, plan))
      else defect ??= error
    }
  }
  return { ready, mistakes, defect }
}

/** As `signalbox check` prints them. */
function linesOf(error: SignalboxError, { config }: Plan): readonly string[] {
  const { cause, message } = error
  if (cause instanceof AggregateError) return cause.errors.map((one: unknown) => (one instanceof Error ? one.message : String(one)))
  const found = mistakesOf(error)
  if (found === undefined) return [error.side === 'source' ? `mapping.file.path: ${message}` : message]
  const path = config.mapping.file?.path ?? ''
  const lines = found.mistakes.map((mistake) => `${path}, line ${mistake.line}: ${mistake.message}`)
  return found.more > 0 ? [...lines, `${path}, and ${found.more} more`] : lines
}

/** One sentence or more, for people. */
function noteOf({ changed, restart, roll }: Plan): string {
  const sentences = [changed.length === 0 ? 'Nothing has changed.' : `In force: ${changed.join(', ')}.`]
  if (roll) sentences.push('The workers are being replaced one by one; the new ones take the connections.')
  if (restart.length > 0) sentences.push(`Left as it was until a restart: ${restart.join(', ')}.`)
  return sentences.join(' ')
}
