/** The demo as somebody starts it (`npm start`), what it prints, and how what it prints is pasted. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { systemClock } from '../../src/clock.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PATIENCE_MS = 60_000

/** `npm start`, and what it printed. */
export class Demo {
  readonly child: ChildProcess
  readonly exited: Promise<number | null>
  output = ''

  constructor(env: NodeJS.ProcessEnv, [program = '', ...args]: readonly string[] = ['npm', 'start'], cwd = ROOT) {
    this.child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
    this.child.stdout?.on('data', (chunk: Buffer) => (this.output += chunk.toString('utf8')))
    this.exited = new Promise((resolve) => this.child.once('exit', resolve))
  }

  async until(pattern: RegExp): Promise<void> {
    for (const deadline = systemClock.now() + PATIENCE_MS; !pattern.test(this.output); await systemClock.sleep(50)) {
      assert.ok(systemClock.now() < deadline && this.child.exitCode === null, `no ${pattern} in: ${this.output}`)
    }
  }

  /** The commands as printed: all lines of the paragraph after each numbered heading. */
  commands(): string[] {
    return [...this.output.matchAll(/^\d\. .*:\n\n((?:.+\n)+)/gm)].map(([, command = '']) => command)
  }

  /** Ctrl-C on a terminal reaches the whole group: npm, the demo, the proxy and the mail servers. */
  async interrupt(): Promise<number | null> {
    if (this.child.pid !== undefined && this.child.exitCode === null) process.kill(-this.child.pid, 'SIGINT')
    return this.exited
  }
}

/** Runs what was printed the way it would be pasted. */
export async function paste(command: string): Promise<string> {
  const { stdout } = await run('sh', ['-c', command], { timeout: PATIENCE_MS })
  return stdout
}

/** Our environment without what would make a child a part of our test run. */
export function cleanEnv(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _context, ...env } = process.env
  return { ...env, ...more }
}
