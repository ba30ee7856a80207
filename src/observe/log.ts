/**
 * The log of one process: pino over an asynchronous descriptor. Owns the buffer between the two and loses nothing
 * silently: lines beyond LOG_BUFFER (a reader that stands still, a full disk) are dropped, counted, and the count is
 * logged when there is room again. Lines wait at most LOG_FLUSH_MS for company, which halves the cost of a login; what
 * a process that is killed had written in that time is lost with it. `flush` before a planned end, `flushSync` in the last
 * resort. JSON, or for people pino-pretty inside the process (no worker thread that dies with unwritten lines).
 *
 * Fields that could carry a secret by mistake are replaced by serializers instead of pino's `redact`: the same effect on
 * top-level keys, but a line that holds none of them pays nothing.
 */
import { pino } from 'pino'
import type { Logger } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Clock, Timer } from '../clock.ts'
import type { LogLevel } from '../config/config.ts'
import { LOG_BUFFER, LOG_END_MS, LOG_FLUSH_MS, LOG_LINE } from '../limits.ts'
import { errorFields } from './error-fields.ts'
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
  /** Resolves when everything logged so far was handed to the kernel, at the latest after LOG_END_MS. */
  flush(): Promise<void>
  /** The same at once, blocking; for the exit handler. Gives up on a reader that stands still. */
  flushSync(): void
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

/** Opens the log of this process. The descriptor stays open for ever. */
export function createLog(options: LogOptions): Log {
  const sink = new LogSink(options)
  const logger = pino(
    {
      level: options.level,
      base: options.worker === undefined ? {} : { worker: options.worker },
      errorKey: 'error',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: SERIALIZERS,
    },
    sink,
  )
  sink.onDropped = (lines) => logger.warn({ event: 'log_dropped', lines }, 'log lines were dropped')
  return { logger, flush: () => sink.flush(), flushSync: () => sink.flushSync() }
}

type Destination = ReturnType<typeof pino.destination>

/** Between pino and the descriptor: fits lines, gathers them, counts the dropped. */
class LogSink {
  readonly #destination: Destination
  readonly #clock: Clock
  readonly #render: (line: string) => string
  #flushing: Timer | undefined
  #dropped = 0
  #ending = false
  #retries = 0
  onDropped: (lines: number) => void = () => {}

  constructor(options: LogOptions) {
    this.#clock = options.clock
    const pretty = options.format === 'pretty' || (options.format === 'auto' && options.isTerminal)
    this.#render = pretty ? prettyRender(options.isTerminal) : (line) => line
    this.#destination = pino.destination({
      dest: options.fd ?? 1,
      sync: false,
      minLength: LOG_LINE - 1,
      maxWrite: LOG_LINE,
      maxLength: LOG_BUFFER,
      // A reader that stands still (EAGAIN) is waited for, but not for ever when the process is ending.
      retryEAGAIN: () => !this.#ending || ++this.#retries * 100 < LOG_END_MS,
    })
    this.#destination.on('drop', () => this.#dropped++)
    this.#destination.on('drain', () => this.#reportDropped())
    // Without a listener a full disk would end the process. What could not be written stays buffered and is tried again
    // with the next line; beyond the buffer it is dropped and counted.
    this.#destination.on('error', () => {})
  }

  write(line: string): void {
    this.#destination.write(this.#render(fitLine(line)))
    this.#flushing ??= this.#clock.after(LOG_FLUSH_MS, () => {
      this.#flushing = undefined
      this.#destination.flush()
    })
  }

  flush(): Promise<void> {
    return new Promise((resolve) => {
      const deadline = this.#clock.after(LOG_END_MS, resolve, { keepAlive: true })
      // The callback's error is that of fsync, which pipes and terminals refuse: the write itself was done.
      this.#destination.flush(() => {
        deadline.cancel()
        resolve()
      })
    })
  }

  flushSync(): void {
    this.#ending = true
    this.#retries = 0
    try {
      this.#destination.flushSync()
    } catch {
      // Nobody is left to be told: the log itself is what failed, and the process is ending.
    } finally {
      this.#ending = false
    }
  }

  #reportDropped(): void {
    if (this.#dropped === 0) return
    const dropped = this.#dropped
    this.#dropped = 0
    this.onDropped(dropped)
  }
}

function prettyRender(colour: boolean): (line: string) => string {
  const pretty = prettyFactory({ colorize: colour, translateTime: 'SYS:HH:MM:ss.l', errorLikeObjectKeys: [], singleLine: true })
  return (line) => pretty(showEscapes(line)) ?? line
}
