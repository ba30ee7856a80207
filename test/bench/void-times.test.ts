import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { VoidTimes } from '../../bench/void-times.ts'

test('a route is void when the last worker says so; what others say, or one says twice, does not count', async () => {
  await using times = await VoidTimes.listen(2)
  const workers = [connect(times.port, '127.0.0.1'), connect(times.port, '127.0.0.1')] as const
  await Promise.all(workers.map((worker) => once(worker, 'connect')))
  const last = times.of('alice@example.com')
  workers[0].write('bob@example.com 1 70\nalice@example.com 1 100\nalice@example.com 1 900\n')
  workers[1].write('alice@exa')
  workers[1].write('mple.com 2 300\n')
  assert.equal(await last, 300n)
  for (const worker of workers) worker.destroy()
})
