/** The command line as an operator has it: `signalbox` in the path of a shell, in a directory of its own, with an instance running. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { MAIN } from './signalbox.ts'

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export class CommandLine {
  readonly directory: string
  readonly #env: NodeJS.ProcessEnv

  private constructor(directory: string, env: NodeJS.ProcessEnv) {
    this.directory = directory
    this.#env = env
  }

  /** @param config PROXY_CONFIG; undefined: not set */
  static async make(directory: string, config: string | undefined): Promise<CommandLine> {
    const bin = join(directory, 'bin')
    await mkdir(bin, { recursive: true })
    const shim = join(bin, 'signalbox')
    await writeFile(shim, `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`)
    await chmod(shim, 0o755)
    const { NODE_TEST_CONTEXT: _context, PROXY_CONFIG: _config, PROXY_ADMIN_TOKEN: _token, ...env } = process.env
    return new CommandLine(directory, {
      ...env,
      PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
      ...(config === undefined ? {} : { PROXY_CONFIG: config }),
    })
  }

  /** Runs it in a shell, as printed. */
  shell(command: string, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return finished(spawn('sh', ['-c', command], { cwd: this.directory, env: { ...this.#env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] }))
  }

  run(...args: string[]): Promise<Ran> {
    return finished(this.start(...args))
  }

  start(...args: string[]): ChildProcess {
    return spawn(process.execPath, [MAIN, ...args], { cwd: this.directory, env: this.#env, stdio: ['pipe', 'pipe', 'pipe'] })
  }
}

export function finished(child: ChildProcess): Promise<Ran> {
  let out = ''
  let err = ''
  child.stdout?.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')))
  child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString('utf8')))
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, out, err })))
}
