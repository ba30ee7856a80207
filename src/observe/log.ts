/**
 * The log of one process: pino's lines, fitted (line.ts) and handed to the descriptor (destination.ts). JSON, or for
 * people pino-pretty inside the process (no worker thread that dies with unwritten lines). `flush` before a planned end,
 * `flushSync` in the last resort; what a process that is killed had logged in its last LOG_FLUSH_MS is lost with it.
 *
 * Fields that could carry a secret by mistake are replaced by serializers instead of pino's `redact`: the same effect on
 * top-level keys, but a line that holds none of them pays nothing.
 */
import { createRequire } from 'node:module'
import { pino } from 'pino'
import type { LogFn, Logger } from 'pino'
import type { prettyFactory as PrettyFactory } from 'pino-pretty'
import type { Clock } from '../clock.ts'
import type { LogLevel } from '../config/config.ts'
import { Destination } from './destination.ts'
import { errorFields } from './error-fields.ts'
import { FrequentLines } from './frequent.ts'
import { fitLine, showEscapes } from './line.ts'
import { redactUrl } from './redaction.ts'

export type { Logger } from 'pino'

export interface LogOptions {
  readonly level: LogLevel
  /** "auto": pretty on a terminal, else JSON. */
  readonly format: 'auto' | 'json' | 'pretty'
  readonly isTerminal: boolean
  readonly clock: Clock
  /** Descriptor to write to; default 1. */
  readonly fd?: number
  /** Number of the worker; absent in the primary. */
  readonly worker?: number
}

export interface Log {
  readonly logger: Logger
  /** For the lines that every session writes; undefined where they must be shaped for people. */
  readonly frequent: FrequentLines | undefined
  /** Resolves when everything logged so far was handed to the kernel, at the latest after LOG_END_MS. */
  flush(): Promise<void>
  /** The same at once, blocking; for the exit handler. Gives up on a reader that stands still for `patience` milliseconds (LOG_END_MS). */
  flushSync(patience?: number): void
}

const CONCEALED = () => '[redacted]'

/** Keys whose value never stands in the log as it is, whoever passes it. */
const SERIALIZERS = {
  error: errorFields,
  err: errorFields,
  cause: errorFields,
  url: (value: unknown) => (typeof value === 'string' ? redactUrl(value) : '[redacted]'),
  password: CONCEALED,
  credentials: CONCEALED,
  login: CONCEALED,
  token: CONCEALED,
  secret: CONCEALED,
  authorization: CONCEALED,
  headers: CONCEALED,
  config: CONCEALED,
  admin: CONCEALED,
  key: CONCEALED,
}

/** Opens the log of this process. The descriptor stays open for ever. Whoever opens it calls `flushSync` on `exit`. */
export function createLog(options: LogOptions): Log {
  const destination = new Destination(options.fd ?? 1, options.clock)
  const pretty = options.format === 'pretty' || (options.format === 'auto' && options.isTerminal)
  const render = pretty ? prettyRender(options.isTerminal) : (line: string) => line
  const write = (line: string): void => destination.write(render(fitLine(line)))
  const logger = pino(
    {
      level: options.level,
      base: options.worker === undefined ? {} : { worker: options.worker },
      errorKey: 'error',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      hooks: { logMethod: withSentence },
      serializers: SERIALIZERS,
    },
    { write },
  )
  destination.onDropped = (lines) => logger.warn({ event: 'log_dropped', lines }, 'log lines were dropped')
  const frequent = pretty ? undefined : new FrequentLines({ logger, worker: options.worker, wall: () => options.clock.wall(), write })
  return { logger, frequent, flush: () => destination.flush(), flushSync: (patience) => destination.flushSync(patience) }
}

/** Without a sentence pino would take the error's message for one, past the serializer that takes passwords out of it. */
function withSentence(this: Logger, args: Parameters<LogFn>, method: LogFn): void {
  const [first, sentence] = args
  if (sentence === undefined && typeof first === 'object') method.apply(this, [first, 'without a sentence'])
  else method.apply(this, args)
}

function prettyRender(colour: boolean): (line: string) => string {
  // Read when it is needed: a start that logs JSON does without its modules.
  const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as { readonly prettyFactory: typeof PrettyFactory }
  const pretty = prettyFactory({ colorize: colour, translateTime: 'SYS:HH:MM:ss.l', errorLikeObjectKeys: [], singleLine: true })
  return (line) => pretty(showEscapes(line)) ?? line
}
