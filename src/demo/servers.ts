/**
 * The demo's two mail servers as a process of their own, "old" and "new", so that the demo shows what a proxy shows: a
 * connection that leaves the house. This file holds both ends of that process's IPC: the parent sends what to serve,
 * the child answers with its ports, and ends when the parent is gone.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { SignalboxError } from '../errors.ts'
import { DemoImapServer } from './imap-server.ts'
import type { DemoImapPorts } from './imap-server.ts'

export interface DemoServersOrder {
  readonly cert: string
  readonly key: string
  /** Users and their passwords, the same on both servers. */
  readonly users: readonly (readonly [string, string])[]
}

export interface DemoServersPorts {
  readonly old: DemoImapPorts
  readonly new: DemoImapPorts
}

export interface DemoServers {
  readonly ports: DemoServersPorts
  readonly pid: number
  /** Resolves when the process has ended, whoever ended it. */
  readonly ended: Promise<void>
  stop(): Promise<void>
}

/** The child: waits for its order, serves, and ends with its parent. */
export function serveDemo(channel: NodeJS.Process): void {
  // The terminal's Ctrl-C reaches this process too; it ends when its parent says so, so that sessions end in order.
  channel.on('SIGINT', () => {})
  channel.once('disconnect', () => channel.exit(0))
  channel.once('message', (order: DemoServersOrder) => {
    void (async () => {
      const users = new Map(order.users)
      const [older, newer] = ['OLD server', 'NEW server'].map((name) => new DemoImapServer({ name, users, cert: order.cert, key: order.key }))
      if (older === undefined || newer === undefined) return
      const ports: DemoServersPorts = { old: await older.listen(), new: await newer.listen() }
      channel.send?.(ports)
    })()
  })
}

/** The parent: starts the process and waits for its ports. */
export async function startDemoServers(entry: URL, order: DemoServersOrder): Promise<DemoServers> {
  const child = fork(entry, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const ports = await firstMessage(child, order)
  return {
    ports,
    pid: child.pid ?? 0,
    ended,
    async stop() {
      if (child.connected) child.disconnect()
      await ended
    },
  }
}

function firstMessage(child: ChildProcess, order: DemoServersOrder): Promise<DemoServersPorts> {
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown): void => reject(new SignalboxError('INTERNAL', "the demo's mail servers did not start", { cause }))
    child.once('error', failed)
    child.once('exit', (code, signal) => failed(new Error(`exit ${code ?? signal}`)))
    child.once('message', (ports: DemoServersPorts) => resolve(ports))
    child.send(order)
  })
}
