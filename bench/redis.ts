/** A Redis server of a question's own, on a port of its own, without a disk. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort } from '../test/support/ports.ts'
import type { Bench } from './question.ts'

/** Gives its URL; undefined: it is not installed, and that is noted beside `subject`. It ends with the question. */
export async function startRedis(bench: Bench, subject: string): Promise<string | undefined> {
  const port = await freePort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', bench.directory]
  const server = spawn('redis-server', args, { stdio: 'ignore' })
  const missing = await Promise.race([once(server, 'error').then(() => true), once(server, 'spawn').then(() => false)])
  if (missing) {
    bench.missing(subject, 'redis-server is not installed')
    return undefined
  }
  bench.use({
    async [Symbol.asyncDispose]() {
      const ended = once(server, 'exit')
      server.kill()
      await ended
    },
  })
  return `redis://127.0.0.1:${port}`
}
