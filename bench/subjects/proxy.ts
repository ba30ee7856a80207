/**
 * A proxy that is measured: how each kind is started and what all of them are told. A leg is a connection from client to
 * proxy or from proxy to backend; what is encrypted is one of three cases.
 */
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { accepts } from '../../test/support/server-process.ts'
import type { Credentials } from '../credentials.ts'
import { descendantPids } from '../process-tree.ts'

/** plain: no TLS; client: between client and proxy; both: there, and between proxy and backend. */
export type Legs = 'plain' | 'client' | 'both'

export interface ProxyOptions {
  readonly legs: Legs
  /** imap: the protocol is understood; http: requests, without TLS. */
  readonly protocol: 'imap' | 'http'
  readonly port: number
  /** A second port, without TLS, for those that can have it. */
  readonly plainPort?: number
  readonly backendPort: number
  readonly credentials: Credentials
  /** The proxy's own; exists. */
  readonly directory: string
  /** Worker processes or threads. */
  readonly workers: number
  /** Accounts that it knows. */
  readonly accounts: number
  /** Arguments of Node.js, for the proxy under test alone. */
  readonly proxyArguments: readonly string[]
}

export interface Proxy extends AsyncDisposable {
  readonly name: string
  /** Somebody else's: its failures end no question. */
  readonly peer: boolean
  /** Of its first process. */
  readonly pid: number
  readonly port: number
  /** Without TLS, beside one with it. */
  readonly plainPort?: number
}

/** Why a proxy can't be measured in this case: not installed, or not able to. */
export class Unavailable extends Error {}

export interface ProxyKind {
  readonly name: string
  /** Somebody else's: when it does not start, that is noted. */
  readonly peer?: boolean
  /** The same, started from a checkout of an earlier state of the project. */
  readonly earlier?: (checkout: string) => ProxyKind
  /** @throws Unavailable */
  start(options: ProxyOptions): Promise<Proxy>
}

export interface Launch {
  readonly name: string
  readonly peer: boolean
  readonly program: string
  readonly args: readonly string[]
  readonly port: number
  readonly plainPort?: number | undefined
  readonly directory: string
  readonly env?: NodeJS.ProcessEnv
  /** Where its standard output goes; default: output.log in the directory. */
  readonly log?: string
}

const START_MS = 30_000
const STOP_MS = 10_000
const LOOK_MS = 25

/** Starts a program and waits until its port takes connections. */
export async function launch({ name, peer, program, args, port, plainPort, directory, env, log = join(directory, 'output.log') }: Launch): Promise<Proxy> {
  const output = createWriteStream(log)
  await new Promise((resolve) => output.once('open', resolve))
  const child = spawn(program, args, { stdio: ['ignore', output, output], env: env ?? process.env })
  output.close()
  let ended: string | undefined
  const exited = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      ended = error.message
      resolve()
    })
    child.once('exit', (code, signal) => {
      ended ??= `it ended with ${code ?? signal}`
      resolve()
    })
  })
  const pid = child.pid ?? 0
  // All of them: workers of some servers go on without the process that started them.
  const killAtExit = (): void => descendantPids([pid]).forEach(endProcess)
  process.once('exit', killAtExit)
  const stop = async (): Promise<void> => {
    process.off('exit', killAtExit)
    if (ended !== undefined) return
    // A process that serves one session may outlive its parent: all that there are now are ended by their ids.
    const all = descendantPids([pid])
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    await exited
    clearTimeout(timer)
    for (const left of descendantPids(all)) endProcess(left)
  }
  const until = performance.now() + START_MS
  while (!(await accepts(port))) {
    if (ended !== undefined || performance.now() > until) {
      const why = ended ?? 'it does not listen'
      await stop()
      throw new Error(`${name} did not start: ${why}; see ${log}`)
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
  return { name, peer, pid, port, ...(plainPort === undefined ? {} : { plainPort }), [Symbol.asyncDispose]: stop }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself meanwhile.
  }
}
