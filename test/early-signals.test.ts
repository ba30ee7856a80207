import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EarlySignals } from '../src/early-signals.ts'

/** Sent to this process, and arrived. */
async function come(signal: NodeJS.Signals, times = 1): Promise<void> {
  for (let time = 0; time < times; time++) {
    const arrived = new Promise<void>((resolve) => process.once(signal, () => resolve()))
    process.kill(process.pid, signal)
    await arrived
  }
}

test('what came before is told to who takes it over, once; what comes later is heeded', async (t) => {
  const before = process.listenerCount('SIGHUP')
  const signals = new EarlySignals()
  await come('SIGHUP', 2)
  await come('SIGTERM')
  const heeded: string[] = []
  const heed = (): void => void heeded.push('SIGHUP')
  t.after(() => process.off('SIGHUP', heed))
  assert.equal(signals.take('SIGHUP', heed), 2)
  assert.equal(process.listenerCount('SIGHUP'), before + 1)
  await come('SIGHUP')
  assert.deepEqual(heeded, ['SIGHUP'])
  assert.equal(signals.take('SIGUSR2', () => {}), 0)
  process.removeAllListeners('SIGUSR2')
  // Somebody else hears it: the test's process must live on.
  const again = new Promise<void>((resolve) => process.once('SIGTERM', () => resolve()))
  signals.release('SIGTERM')
  await again
  await signals.releaseAll()
  assert.equal(process.listenerCount('SIGINT'), 0)
  assert.equal(process.listenerCount('SIGUSR1'), 1)
  process.removeAllListeners('SIGUSR1')
})
