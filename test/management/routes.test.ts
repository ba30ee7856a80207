import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { SignalboxError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { TestManagement } from '../support/management.ts'

const CONFIRMED = { workers: 2, workersExpected: 2, peers: [], bus: 'none' } as const

describe('the routes of the management API', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start()
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.calls.length = 0
    api.operations.kicked = 7
    api.operations.mappings.clear()
    api.operations.failure = undefined
    api.operations.reload = undefined
    api.operations.confirmation = CONFIRMED
    api.operations.current = 'ready'
    api.audits.length = 0
    api.lines.length = 0
  })

  test('healthz answers ok without a token, also while draining', async () => {
    api.operations.current = 'draining'
    const reply = await api.ask('GET', '/healthz', { token: null })
    assert.deepEqual([reply.status, reply.text], [200, 'ok\n'])
    assert.match(String(reply.headers['content-type']), /^text\/plain/)
  })

  test('readyz is 503 while starting and draining and 200 when ready', async () => {
    for (const [state, status, text] of [['starting', 503, 'starting\n'], ['ready', 200, 'ok\n'], ['draining', 503, 'draining\n']] as const) {
      api.operations.current = state
      const reply = await api.ask('GET', '/readyz')
      assert.deepEqual([reply.status, reply.text], [status, text])
      assert.equal((await api.ask('GET', '/readyz', { token: null })).status, 401)
      await api.ask('GET', '/readyz')
    }
  })

  test('stats and destinations are JSON whatever is accepted, with every field', async () => {
    const stats = await api.ask('GET', '/stats', { headers: { accept: 'text/plain' } })
    assert.equal(stats.status, 200)
    assert.deepEqual(stats.json, await api.operations.stats())
    const destinations = await api.ask('GET', '/destinations')
    assert.deepEqual(destinations.json, { destinations: await api.operations.destinations() })
  })

  test('resetting a destination is 200, an unknown one 404', async () => {
    assert.equal((await api.ask('POST', '/destinations/reset?destination=new')).text, 'ok\n')
    const unknown = await api.askJson('POST', '/destinations/reset?destination=nowhere')
    assert.equal(unknown.status, 404)
    assert.deepEqual(unknown.json, { error: 'destination: no destination "nowhere" is declared', code: 'NOT_FOUND' })
    assert.deepEqual(api.audits.map(({ change, outcome, status }) => [change, outcome, status]), [
      ['destination_reset', 'ok', 200],
      ['destination_reset', 'NOT_FOUND', 404],
    ])
  })

  test('a mapping is put, looked up, removed, and then absent', async () => {
    assert.equal((await api.ask('PUT', '/mappings?identifier=Al+x%40example.org&destination=new')).text, 'ok\n')
    assert.deepEqual([...api.operations.mappings], [['al+x@example.org', 'new']])
    const found = await api.ask('GET', '/mappings?identifier=Al+x@example.org')
    assert.deepEqual(found.json, {
      identifier: 'Al+x@example.org',
      normalized: 'al+x@example.org',
      destination: 'new',
      routed_to_default: false,
      cached: false,
      source: 'store',
    })
    assert.equal((await api.ask('DELETE', '/mappings?identifier=al%2Bx@example.org')).text, 'removed\n')
    assert.equal((await api.ask('DELETE', '/mappings?identifier=al%2Bx@example.org')).text, 'absent\n')
  })

  test('a lookup gives the answer of every worker when asked to', async () => {
    const reply = await api.ask('GET', '/mappings?identifier=a&workers=all')
    assert.partialDeepStrictEqual(reply.json, { workers: [{ worker: 1, destination: 'old' }, { worker: 2, source: 'store' }] })
    assert.equal((await api.ask('GET', '/mappings?identifier=a&workers=some')).text, 'workers: must be "all" when it is given\n')
  })

  test('the short answers of the remaining changes', async () => {
    assert.equal((await api.ask('POST', '/mappings/reload')).text, 'reloaded\n')
    assert.equal((await api.ask('POST', '/cache/invalidate')).text, 'ok\n')
    assert.equal((await api.ask('POST', '/cache/invalidate?identifier=A')).text, 'ok\n')
    assert.equal((await api.ask('POST', '/connections/kick?identifier=A')).text, 'kicked 7\n')
    assert.equal((await api.ask('POST', '/connections/delay?identifier=A&seconds=5')).text, 'ok\n')
    assert.equal((await api.ask('POST', '/connections/delay?identifier=A&seconds=99999999999999999999999')).text, 'ok\n')
    assert.deepEqual(api.operations.calls, [
      ['reloadMappings'],
      ['invalidate', undefined],
      ['invalidate', 'a'],
      ['kick', 'a'],
      ['delay', 'a', 5],
      ['delay', 'a', 120],
    ])
  })

  test('a client that names application/json gets workers, peers and bus', async () => {
    api.operations.confirmation = { workers: 2, workersExpected: 2, peers: [{ instance: 'b', acknowledged: true }], bus: 'up' }
    const reply = await api.askJson('PUT', '/mappings?identifier=A&destination=new')
    assert.deepEqual(reply.json, {
      result: 'ok',
      identifier: 'a',
      destination: 'new',
      workers: 2,
      workers_expected: 2,
      peers: [{ instance: 'b', acknowledged: true }],
      unconfirmed: [],
      bus: 'up',
    })
    assert.equal(reply.headers['signalbox-unconfirmed'], undefined)
    const reload = await api.askJson('POST', '/mappings/reload')
    assert.partialDeepStrictEqual(reload.json, { result: 'reloaded', added: 1, changed: 2, removed: 3, warnings: [] })
    const kick = await api.askJson('POST', '/connections/kick?identifier=a')
    assert.partialDeepStrictEqual(kick.json, { result: 'kicked 7', kicked: 7 })
    assert.partialDeepStrictEqual((await api.askJson('DELETE', '/mappings?identifier=a')).json, { removed: true })
    assert.partialDeepStrictEqual((await api.askJson('GET', '/healthz')).json, { result: 'ok', state: 'ready' })
  })

  test('peers that have not confirmed stand in a header that nothing can break', async () => {
    api.operations.confirmation = {
      workers: 2,
      workersExpected: 2,
      peers: [{ instance: 'b', acknowledged: false }, { instance: 'c, d\r\nX: y\ud800', acknowledged: false }, { instance: 'e', acknowledged: true }],
      bus: 'down',
    }
    const reply = await api.ask('PUT', '/mappings?identifier=a&destination=new')
    assert.deepEqual([reply.status, reply.text], [200, 'ok\n'])
    assert.equal(reply.headers['signalbox-unconfirmed'], 'b, c%2C%20d%0D%0AX%3A%20y%EF%BF%BD, bus: down')
  })

  test('a change that a local worker has not confirmed is 504', async () => {
    api.operations.confirmation = { ...CONFIRMED, workers: 1 }
    for (const [method, path] of [
      ['PUT', '/mappings?identifier=a&destination=new'],
      ['DELETE', '/mappings?identifier=a'],
      ['POST', '/cache/invalidate'],
      ['POST', '/connections/kick?identifier=a'],
      ['POST', '/connections/delay?identifier=a&seconds=1'],
      ['POST', '/mappings/reload'],
    ] as const) {
      const reply = await api.ask(method, path)
      assert.deepEqual([path, reply.status, reply.text], [path, 504, 'committed, not confirmed\n'])
      const json = await api.askJson(method, path)
      assert.partialDeepStrictEqual(json.json, { code: 'NOT_CONFIRMED', workers: 1, workers_expected: 2 })
    }
    assert.ok(api.audits.every(({ outcome, status }) => outcome === 'NOT_CONFIRMED' && status === 504))
  })

  test('a mapping file with mistakes is 422 with all of them', async () => {
    const mistakes = [{ line: 3, message: 'no destination' }, { line: 9, message: 'a tab too many' }]
    api.operations.reload = { ok: false, mistakes, message: 'the mapping file has 2 mistakes' }
    const text = await api.ask('POST', '/mappings/reload')
    assert.deepEqual([text.status, text.text], [422, 'the mapping file has 2 mistakes\nline 3: no destination\nline 9: a tab too many\n'])
    const json = await api.askJson('POST', '/mappings/reload')
    assert.deepEqual(json.json, { error: 'the mapping file has 2 mistakes', code: 'SOURCE_INVALID', mistakes })
  })

  test('an account that the source cannot hold is a bad parameter, and the sentence begins with its name', async () => {
    api.operations.failure = new SignalboxError('CLIENT_BAD_IDENTIFIER', 'the name begins with "#"')
    for (const [method, path] of [['PUT', '/mappings?identifier=a&destination=new'], ['DELETE', '/mappings?identifier=a'], ['POST', '/accounts/cutover?identifier=a&destination=new']] as const) {
      const { status, json } = await api.askJson(method, path)
      assert.deepEqual([status, json], [400, { error: 'identifier: the name begins with "#"', code: 'BAD_PARAMETER', parameter: 'identifier' }])
    }
  })

  const statuses: readonly (readonly [ErrorCode, number])[] = [
    ['SOURCE_CONFLICT', 409],
    ['BUS_PEER_LACKS', 409],
    ['SOURCE_INVALID', 422],
    ['SOURCE_READ_ONLY', 501],
    ['SOURCE_UNAVAILABLE', 503],
    ['SOURCE_TIMEOUT', 503],
    ['SOURCE_WRITE', 503],
    ['SOURCE_NOT_REPLICATED', 503],
    ['ROUTE_UNAVAILABLE', 503],
    ['ACTOR_DEADLINE', 503],
    ['ACTOR_GONE', 503],
    ['ACTOR_MAILBOX_FULL', 503],
    ['BUS_DOWN', 503],
    ['DRAINING', 503],
  ]
  for (const [code, status] of statuses) {
    test(`${code} is answered with ${status} and its sentence`, async () => {
      api.operations.failure = new SignalboxError(code, 'it could not be done at redis://u:hunter2@h/0')
      const reply = await api.ask('PUT', '/mappings?identifier=a&destination=new')
      assert.deepEqual([reply.status, reply.text], [status, 'it could not be done at redis://u:***@h/0\n'])
      const json = await api.askJson('GET', '/mappings?identifier=a')
      assert.deepEqual(json.json, { error: 'it could not be done at redis://u:***@h/0', code })
      assert.deepEqual(api.audits.map(({ outcome, account }) => [outcome, account]), [[code, 'a']])
    })
  }

  test('an unexpected error is a 500 that tells nothing but an id, which the log has with the rest', async () => {
    for (const failure of [new TypeError('secret inside'), new SignalboxError('INTERNAL', 'secret inside'), 'secret inside', null]) {
      api.lines.length = 0
      api.operations.failure = failure
      const reply = await api.askJson('PUT', '/mappings?identifier=alice&destination=new')
      assert.equal(reply.status, 500)
      assert.doesNotMatch(reply.text, /secret|\bat /)
      const line = api.lines.find(({ event }) => event === 'management_failed')
      assert.ok(line !== undefined)
      assert.partialDeepStrictEqual(reply.json, { code: 'INTERNAL', id: line['error_id'] })
      assert.doesNotMatch(JSON.stringify(line), /alice/)
    }
    assert.ok(api.audits.every(({ outcome }) => outcome === 'INTERNAL'))
  })

  test('every change is audited once with account, client, outcome and who acknowledged; reading is not', async () => {
    const peers = [{ instance: 'b', acknowledged: true }]
    api.operations.confirmation = { workers: 2, workersExpected: 2, peers, bus: 'up' }
    await api.ask('GET', '/mappings?identifier=Alice')
    await api.ask('GET', '/stats')
    await api.ask('PUT', '/mappings?identifier=Alice%25master&destination=new')
    await api.ask('PUT', '/mappings?identifier=Alice&destination=nowhere')
    await api.ask('POST', '/connections/kick?identifier=Alice')
    for (const { seconds } of api.audits) assert.equal(seconds, 0, 'by the clock of the test')
    assert.deepEqual(api.audits.map((entry) => ({ ...entry, seconds: undefined })), [
      {
        change: 'mapping_put', account: 'alice', destination: 'new', client: '127.0.0.1', outcome: 'ok', status: 200, seconds: undefined,
        confirmation: api.operations.confirmation, facts: {},
      },
      { change: 'mapping_put', account: 'alice', client: '127.0.0.1', outcome: 'BAD_PARAMETER', status: 400, seconds: undefined },
      {
        change: 'connections_kick', account: 'alice', client: '127.0.0.1', outcome: 'ok', status: 200, seconds: undefined,
        confirmation: api.operations.confirmation, facts: { kicked: 7 },
      },
    ])
  })
})
