/**
 * The proxy itself as a child process, the way an operator starts it: `node src/main.ts serve FILE`, or otherwise. Gives its log as
 * parsed lines, a management client, and how it ended. Nothing here looks inside it.
 */
import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../src/clock.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
const START_MS = 30_000
const STOP_MS = 20_000
const PATIENCE_MS = 15_000

/** A log line; what isn't JSON has only `text`. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly text: string }

export interface SignalboxOptions {
  /** Where the configuration file is written. */
  readonly directory: string
  /** TOML. */
  readonly config: string
  readonly admin?: AdminOptions
  readonly env?: NodeJS.ProcessEnv
  /** What to run in this package instead of `src/main.ts serve`, the configuration file apart. */
  readonly command?: readonly string[]
  /** File descriptors that each of its processes may have (ulimit -n). */
  readonly descriptors?: number
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class Signalbox implements AsyncDisposable {
  readonly pid: number
  /** Its configuration file. */
  readonly path: string
  /** All log lines so far. */
  readonly lines: LogLine[] = []
  readonly exited: Promise<Exit>
  /** Standard error so far. */
  errors = ''
  readonly #kill: (signal: NodeJS.Signals) => void
  readonly #admin: AdminClient | undefined
  readonly #log: Interface
  #exit: Exit | undefined
  #heard: (() => void)[] = []

  private constructor(options: SignalboxOptions, path: string) {
    this.path = path
    const command = [process.execPath, ...(options.command ?? [MAIN, 'serve']), path]
    const limited = options.descriptors === undefined ? command : ['/bin/sh', '-c', 'ulimit -n "$0" && exec "$@"', `${options.descriptors}`, ...command]
    const [program = '', ...args] = limited
    const child = spawn(program, args, { ...(options.command === undefined ? {} : { cwd: ROOT }), env: { ...cleanEnv(), ...options.env }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.pid = child.pid ?? 0
    this.#kill = (signal) => void child.kill(signal)
    this.#admin = options.admin === undefined ? undefined : new AdminClient(options.admin)
    const killAtExit = (): void => void child.kill('SIGKILL')
    process.once('exit', killAtExit)
    this.exited = new Promise((resolve) => {
      child.once('error', () => resolve({ code: null, signal: null }))
      child.once('exit', (code, signal) => resolve({ code, signal }))
    })
    void this.exited.then((exit) => {
      process.off('exit', killAtExit)
      this.#admin?.close()
      this.#exit = exit
      this.#wake()
    })
    child.stderr.on('data', (chunk: Buffer) => (this.errors += chunk.toString('utf8')))
    this.#log = createInterface({ input: child.stdout })
    this.#log.on('line', (text) => {
      this.lines.push(parseLine(text))
      this.#wake()
    })
  }

  /** Starts it and waits until it accepts connections. Rejects with all it said when it doesn't come up. */
  static async start(options: SignalboxOptions): Promise<Signalbox> {
    const box = await Signalbox.launch(options)
    try {
      await box.line((line) => line['event'] === 'ready', START_MS)
    } catch (cause) {
      await box.stop('SIGKILL')
      throw new Error(`the proxy did not become ready: ${box.#said()}`, { cause })
    }
    return box
  }

  /** Starts it and waits for nothing. */
  static async launch(options: SignalboxOptions): Promise<Signalbox> {
    const path = join(options.directory, `signalbox-${systemClock.now()}.toml`)
    await writeFile(path, options.config, { mode: 0o600 })
    return new Signalbox(options, path)
  }

  get admin(): AdminClient {
    if (this.#admin === undefined) throw new Error('this proxy was started without management')
    return this.#admin
  }

  /** The first log line, old or new (from index `from`), that fits. Rejects at the deadline or when it ends first. */
  async line(fits: (line: LogLine) => boolean, patience = PATIENCE_MS, from = 0): Promise<LogLine> {
    const deadline = systemClock.now() + patience
    for (let next = from; ; ) {
      for (; next < this.lines.length; next++) {
        const line = this.lines[next]
        if (line !== undefined && fits(line)) return line
      }
      const left = deadline - systemClock.now()
      if (this.#exit !== undefined || left <= 0) throw new Error(`no such log line: ${fits}; ${this.#said()}`)
      await new Promise<void>((resolve) => {
        const timer = systemClock.after(left, resolve, { keepAlive: true })
        this.#heard.push(() => {
          timer.cancel()
          resolve()
        })
      })
    }
  }

  /** Process ids of the workers that are ready, by number, from the log. */
  workers(): ReadonlyMap<number, number> {
    const pids = new Map<number, number>()
    for (const line of this.lines) {
      const { worker, pid, event } = line
      if (typeof worker !== 'number' || typeof pid !== 'number') continue
      if (event === 'worker_ready') pids.set(worker, pid)
      else if (event === 'worker_exited' && pids.get(worker) === pid) pids.delete(worker)
    }
    return pids
  }

  /** Its log is not read until `listen`: the pipe fills. */
  deafen(): void {
    if (this.#exit === undefined) this.#log.pause()
  }

  /** Reads on; what was written meanwhile comes now. */
  listen(): void {
    if (this.#exit === undefined) this.#log.resume()
  }

  signal(signal: NodeJS.Signals): void {
    this.#kill(signal)
  }

  /** Ends it and waits; kills it when it doesn't. Idempotent. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    if (this.#exit === undefined) this.#kill(signal)
    const timer = systemClock.after(STOP_MS, () => this.#kill('SIGKILL'), { keepAlive: true })
    const exit = await this.exited
    timer.cancel()
    return exit
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #wake(): void {
    const heard = this.#heard
    this.#heard = []
    for (const callback of heard) callback()
  }

  #said(): string {
    const exit = this.#exit === undefined ? 'running' : `exit ${this.#exit.code ?? this.#exit.signal}`
    return `${exit}\n${this.lines.slice(-30).map((line) => line.text).join('\n')}\n${this.errors}`
  }
}

/** Our own environment without what would overrule the configuration file. */
function cleanEnv(): NodeJS.ProcessEnv {
  const overrides = ['PROXY_CONFIG', 'PROXY_ADMIN_TOKEN', 'SIGNALBOX_CLUSTER_SECRET', 'LOG_LEVEL', 'RUST_LOG', 'NODE_OPTIONS']
  // The test runner's own channel: a child that finds it would report to it.
  const ours = [...overrides, 'NODE_TEST_CONTEXT']
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.includes(name)))
}

function parseLine(text: string): LogLine {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return { ...value, text }
  } catch {
    // Not JSON: kept as text.
  }
  return { text }
}

export interface AdminOptions {
  readonly port: number
  readonly token: string
  /** PEM. */
  readonly ca: string
  /** Many requests over few connections; default: each over one of its own. */
  readonly keepAlive?: boolean
}

export interface AdminAnswer {
  readonly status: number
  readonly headers: NodeJS.Dict<string | string[]>
  readonly body: string
  /** The body as JSON, or undefined. */
  readonly json: unknown
}

/** The management API over HTTPS. */
export class AdminClient {
  readonly #options: AdminOptions
  readonly #agent: Agent | false

  constructor(options: AdminOptions) {
    this.#options = options
    // Shorter than what the server keeps an idle connection for.
    this.#agent = options.keepAlive === true ? new Agent({ keepAlive: true, maxSockets: 16, timeout: 5_000 }) : false
  }

  /** Closes the connections that are kept. */
  close(): void {
    if (this.#agent !== false) this.#agent.destroy()
  }

  put(identifier: string, destination: string): Promise<AdminAnswer> {
    return this.request('PUT', '/mappings', { identifier, destination })
  }

  delete(identifier: string): Promise<AdminAnswer> {
    return this.request('DELETE', '/mappings', { identifier })
  }

  kick(identifier: string): Promise<AdminAnswer> {
    return this.request('POST', '/connections/kick', { identifier })
  }

  delay(identifier: string, seconds: number): Promise<AdminAnswer> {
    return this.request('POST', '/connections/delay', { identifier, seconds: String(seconds) })
  }

  lookup(identifier: string, more: Readonly<Record<string, string>> = {}): Promise<AdminAnswer> {
    return this.request('GET', '/mappings', { identifier, ...more })
  }

  stats(): Promise<AdminAnswer> {
    return this.request('GET', '/stats')
  }

  request(method: string, path: string, query: Readonly<Record<string, string>> = {}, json = true): Promise<AdminAnswer> {
    const { port, token, ca } = this.#options
    const search = new URLSearchParams(query).toString()
    const headers = { authorization: `Bearer ${token}`, ...(json ? { accept: 'application/json' } : {}) }
    return new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, servername: 'localhost', ca, method, path: search === '' ? path : `${path}?${search}`, headers, agent: this.#agent }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.once('error', reject)
        answer.once('end', () => {
          const body = Buffer.concat(chunks).toString('utf8')
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body, json: parseJson(body) })
        })
      })
      sent.once('error', reject)
      sent.setTimeout(PATIENCE_MS * 2, () => sent.destroy(new Error(`${method} ${path}: no answer`)))
      sent.end()
    })
  }
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
