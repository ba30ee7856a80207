import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { SignalboxError } from '../../src/errors.ts'
import { changed } from '../../src/management/confirmation.ts'
import type { Confirmation } from '../../src/management/operations.ts'
import { TestManagement } from '../support/management.ts'

const CHANGES = [
  ['PUT', '/mappings?identifier=a&destination=new'],
  ['DELETE', '/mappings?identifier=a'],
  ['POST', '/mappings/reload'],
  ['POST', '/cache/invalidate'],
  ['POST', '/cache/invalidate?identifier=a'],
  ['POST', '/connections/kick?identifier=a'],
  ['POST', '/connections/delay?identifier=a&seconds=1'],
] as const

const MIXED: Confirmation = {
  workers: 3,
  workersExpected: 3,
  peers: [
    { instance: 'b', acknowledged: true },
    { instance: 'c', acknowledged: false },
    { instance: 'd', acknowledged: true },
    { instance: 'e', acknowledged: false },
  ],
  bus: 'up',
}

describe('who has confirmed a change', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start()
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.failure = undefined
    api.operations.confirmation = MIXED
    api.operations.calls.length = 0
    api.audits.length = 0
  })

  for (const [method, path] of CHANGES) {
    test(`${method} ${path} tells of every peer, in JSON, header and audit`, async () => {
      const reply = await api.askJson(method, path)
      assert.equal(reply.status, 200)
      assert.partialDeepStrictEqual(reply.json, {
        workers: 3,
        workers_expected: 3,
        peers: MIXED.peers,
        unconfirmed: ['c', 'e'],
        bus: 'up',
      })
      assert.equal(reply.headers['signalbox-unconfirmed'], 'c, e')
      assert.equal((await api.ask(method, path)).headers['signalbox-unconfirmed'], 'c, e', 'to those who read text too')
      assert.deepEqual(api.audits.map(({ confirmation }) => confirmation), [MIXED, MIXED])
    })
  }

  test('a worker that is missing is 504, and the peers are told of all the same', async () => {
    api.operations.confirmation = { ...MIXED, workers: 2 }
    for (const [method, path] of CHANGES) {
      const reply = await api.askJson(method, path)
      assert.equal(reply.status, 504)
      assert.partialDeepStrictEqual(reply.json, { workers: 2, workers_expected: 3, peers: MIXED.peers, unconfirmed: ['c', 'e'], bus: 'up' })
      assert.equal(reply.headers['signalbox-unconfirmed'], 'c, e')
    }
  })

  test('a bus that is down stands in the header also when no peer is known', async () => {
    api.operations.confirmation = { workers: 1, workersExpected: 1, peers: [], bus: 'down' }
    for (const [method, path] of CHANGES) {
      const reply = await api.askJson(method, path)
      assert.deepEqual([reply.status, reply.headers['signalbox-unconfirmed']], [200, 'bus: down'])
      assert.partialDeepStrictEqual(reply.json, { peers: [], unconfirmed: [], bus: 'down' })
    }
  })

  test('there is no header when everybody has confirmed', () => {
    const peers = MIXED.peers.map(({ instance }) => ({ instance, acknowledged: true }))
    assert.equal(changed('ok', { ...MIXED, peers }, {}).headers, undefined)
    assert.equal(changed('ok', { ...MIXED, peers: [], bus: 'none' }, {}).headers, undefined)
  })

  test('a destination that a live peer lacks is 409 and names the peer', async () => {
    api.operations.failure = new SignalboxError('BUS_PEER_LACKS', 'destination "new" is not declared at b')
    const text = await api.ask('PUT', '/mappings?identifier=a&destination=new')
    assert.deepEqual([text.status, text.text], [409, 'destination "new" is not declared at b\n'])
    const json = await api.askJson('PUT', '/mappings?identifier=a&destination=new')
    assert.deepEqual([json.status, json.json], [409, { error: 'destination "new" is not declared at b', code: 'BUS_PEER_LACKS' }])
    assert.deepEqual(api.audits.map(({ outcome, status, destination }) => [outcome, status, destination]), [
      ['BUS_PEER_LACKS', 409, 'new'],
      ['BUS_PEER_LACKS', 409, 'new'],
    ])
    assert.deepEqual([...api.operations.mappings], [], 'nothing was written')
  })
})
