/**
 * Waiting for something that another part of the process is about to do, without a sleep that decides a test: the
 * event loop is let run until the condition holds; a condition that never does fails the test.
 */
import assert from 'node:assert/strict'

/** Lets the event loop turn until `condition` holds, at most about ten seconds. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const began = process.hrtime.bigint()
  while (!condition()) {
    assert.ok(process.hrtime.bigint() - began < 10_000_000_000n, `never came about: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** TCP sockets (not listening ones) that this process has open. */
export function openSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length
}
