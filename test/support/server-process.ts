/** A server program that a test starts: waited for until its port answers, ended by its process id. */
import { spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'

const START_MS = 60_000
/** Whoever started them may end without having ended them. */
const running = new Set<ChildProcess>()
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))

export interface ServerProgram {
  readonly program: string
  readonly args: readonly string[]
  /** Answers when the server is up. */
  readonly port: number
  /** Runs as this user; only root can ask for it. */
  readonly user?: SystemUser | undefined
}

export interface SystemUser {
  readonly uid: number
  readonly gid: number
}

export class ServerProcess {
  readonly #how: ServerProgram
  #process: ChildProcess | undefined
  #output = ''

  constructor(how: ServerProgram) {
    this.#how = how
  }

  get pid(): number {
    const pid = this.#process?.pid
    if (pid === undefined) throw new Error('the server is not running')
    return pid
  }

  async start(): Promise<void> {
    if (this.#process !== undefined) return
    const { program, args, port, user } = this.#how
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...user })
    this.#process = child
    running.add(child)
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text: Buffer) => (this.#output = (this.#output + text.toString()).slice(-20_000)))
    }
    child.once('error', (error) => (this.#output += error.message))
    child.once('close', () => {
      running.delete(child)
      if (this.#process === child) this.#process = undefined
    })
    const until = Date.now() + START_MS
    while (!(await accepts(port))) {
      if (this.#process === undefined || Date.now() > until) throw new Error(`${program} did not start:\n${this.#output}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Ends it and waits for the end. */
  async stop(signal: 'SIGKILL' | 'SIGTERM' | 'SIGQUIT' | 'SIGINT' = 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    const closed = new Promise((resolve) => child.once('close', resolve))
    child.kill(signal)
    await closed
    this.#process = undefined
  }
}

/** Starts what a test needs whole; when that fails, what there is of it goes. `further` comes once, after the first start. */
export async function startedWhole<S extends AsyncDisposable & { start(): Promise<void> }>(server: S, further?: () => Promise<void>): Promise<S> {
  try {
    await server.start()
    await further?.()
    return server
  } catch (error) {
    await server[Symbol.asyncDispose]()
    throw error
  }
}

/** A user of this system by name; undefined: there is none, or we aren't root and run everything as ourselves. */
export function systemUser(name: string): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const fields = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':')).find(([user]) => user === name)
  return fields === undefined ? undefined : { uid: Number(fields[2]), gid: Number(fields[3]) }
}

/** Runs a program to its end; throws with its output when it fails. `env` adds to ours. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { user, env }: { user?: SystemUser | undefined; env?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env }, ...user })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()))
  const status = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (status !== 0) throw new Error(`${program} failed:\n${output}`)
}

/** Whether somebody listens on a port of 127.0.0.1. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
