/** The stub backend: a process of its own, so that its work is in nobody's account. */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { Credentials } from '../credentials.ts'
import type { BackendOptions, BackendPorts } from './options.ts'

const BODY_SIZE = 1_000

export class Backend implements AsyncDisposable {
  readonly ports: BackendPorts
  readonly pid: number
  readonly #process: ChildProcess

  private constructor(process: ChildProcess, ports: BackendPorts) {
    this.#process = process
    this.pid = process.pid ?? 0
    this.ports = ports
  }

  static async start({ cert, key }: Credentials): Promise<Backend> {
    const options: BackendOptions = { cert, key, bodySize: BODY_SIZE }
    const process = fork(join(import.meta.dirname, 'main.ts'), [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const ports = await new Promise<BackendPorts>((resolve, reject) => {
      process.once('message', (message) => resolve(message as BackendPorts))
      process.once('exit', (code) => reject(new Error(`the stub backend ended with ${code}`)))
    })
    return new Backend(process, ports)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    if (this.#process.exitCode !== null || !this.#process.connected) return
    this.#process.disconnect()
    await ended
  }
}
