/** Python's own mail clients (imaplib, poplib, smtplib, and ManageSieve by hand), who log in and do real work. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { programPath } from './programs.ts'

const SCRIPT = fileURLToPath(new URL('mail_clients.py', import.meta.url))
const PATIENCE_MS = 180_000

/** Lets them do the jobs, one after the other; what mail_clients.py says a job is. Gives what came of each. */
export async function workOfClients(jobs: readonly object[]): Promise<readonly unknown[]> {
  const child = spawn(programPath('python3'), [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'], timeout: PATIENCE_MS })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')))
  const ended = new Promise((resolve) => child.once('close', resolve))
  child.stdin.end(JSON.stringify(jobs))
  await ended
  const results: unknown = JSON.parse(said)
  assert.ok(Array.isArray(results))
  return results
}
