/** What is bridged comes out as it went in, over every combination of TLS, slow readers and writers included. SIGNALBOX_INTEGRITY_BYTES: how much. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { skipWithout } from '../support/programs.ts'
import { integrity } from './integrity.ts'

const BYTES = Number(process.env['SIGNALBOX_INTEGRITY_BYTES'] ?? 20e6)

test(`${BYTES} bytes through each combination of TLS`, { skip: skipWithout('redis-server') }, async (t) => {
  const passed = await integrity(BYTES, ({ client, backend, bytes, seconds }) => t.diagnostic(`${client} ${backend}: ${bytes} bytes in ${seconds.toFixed(1)} s`))
  assert.deepEqual(passed.flatMap(({ wrong }) => wrong), [])
  assert.equal(passed.length, 4)
  assert.ok(passed.every(({ bytes }) => bytes >= BYTES))
})
