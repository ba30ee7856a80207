import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { distance, nearest } from '../../src/config/nearest.ts'
import { TABLES } from '../../src/config/schema.ts'

test('common slips lead to the key that was meant', () => {
  const server = Object.keys(TABLES.find((table) => table.path === 'server')?.schema ?? {})
  const slips: Readonly<Record<string, string>> = {
    thread: 'threads', hotsname: 'hostname', 'shutdown-grace': 'shutdown_grace', LogLevel: 'log_level',
    backend_timout: 'backend_timeout', bridgeidle: 'bridge_idle', host_down_treshold: 'host_down_threshold',
  }
  for (const [slip, meant] of Object.entries(slips)) assert.equal(nearest(slip, server), meant, slip)
})

test('a part of a name leads to it, after real misspellings', () => {
  assert.equal(nearest('timeout', ['backend_timeout', 'threads']), 'backend_timeout')
  assert.equal(nearest('imaps', ['imap', 'imaps_old']), 'imap')
})

test('nothing is suggested when nothing is near', () => {
  assert.equal(nearest('zebra', ['threads', 'hostname']), undefined)
  assert.equal(nearest('anything', []), undefined)
  assert.equal(nearest('x', ['source', 'normalize']), undefined)
})

test('a swap of neighbours counts once', () => {
  assert.equal(distance('legcay', 'legacy'), 1)
  assert.equal(distance('', 'abc'), 3)
  assert.equal(distance('same', 'same'), 0)
})

test('the distance is symmetric and never more than the longer name', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (left, right) => {
      assert.equal(distance(left, right), distance(right, left))
      assert.ok(distance(left, right) <= Math.max(left.length, right.length))
    }),
  )
})

test('one slip in any key of the schema is put right by its own table', () => {
  const cases = TABLES.flatMap(
    (table) => Object.keys(table.schema).map((key) => ({ key, keys: Object.keys(table.schema) })),
  )
  for (const { key, keys } of cases.filter((entry) => entry.key.length >= 5)) {
    const slip = `${key.slice(0, 2)}${key.slice(3)}`
    assert.equal(nearest(slip, keys), key, slip)
  }
})
