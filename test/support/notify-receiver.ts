/** The socket of a service manager, held by a small Python program: Node can't open a datagram socket of the Unix domain. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../src/clock.ts'
import { programPath } from './programs.ts'

const SCRIPT = fileURLToPath(new URL('notify_receiver.py', import.meta.url))
const PATIENCE_MS = 20_000

export interface Notification {
  readonly assignments: Readonly<Record<string, string>>
  readonly pid: number
  readonly uid: number
  /** CLOCK_MONOTONIC in microseconds. */
  readonly at: number
}

export class NotifyReceiver implements AsyncDisposable {
  /** All that came so far, in order. */
  readonly received: Notification[] = []
  readonly #end: () => Promise<void>
  #heard: (() => void)[] = []

  private constructor(end: () => Promise<void>) {
    this.#end = end
  }

  /** @param path of the socket, as NOTIFY_SOCKET has it */
  static async start(path: string): Promise<NotifyReceiver> {
    const child = spawn(programPath('python3'), [SCRIPT, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
    const receiver = new NotifyReceiver(async () => {
      child.kill('SIGKILL')
      await gone
    })
    const listening = Promise.withResolvers<void>()
    void gone.then(() => listening.reject(new Error('the receiver ended')))
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line === 'listening') return listening.resolve()
      receiver.received.push(JSON.parse(line))
      const heard = receiver.#heard
      receiver.#heard = []
      for (const callback of heard) callback()
    })
    await listening.promise
    return receiver
  }

  /** The first message from index `from` that has this assignment. Rejects when none comes. */
  async message(name: string, from = 0): Promise<Notification> {
    const deadline = systemClock.now() + PATIENCE_MS
    for (let next = from; ; ) {
      for (; next < this.received.length; next++) {
        const message = this.received[next]
        if (message?.assignments[name] !== undefined) return message
      }
      const left = deadline - systemClock.now()
      if (left <= 0) throw new Error(`no ${name}: ${JSON.stringify(this.received)}`)
      await new Promise<void>((resolve) => {
        const timer = systemClock.after(left, resolve, { keepAlive: true })
        this.#heard.push(() => {
          timer.cancel()
          resolve()
        })
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end()
  }
}
