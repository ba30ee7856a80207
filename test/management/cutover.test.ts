import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { SignalboxError } from '../../src/errors.ts'
import { CUTOVER_FAILURES, CUTOVER_HOLD_SECONDS, CUTOVERS_AT_ONCE, DELAY_SECONDS } from '../../src/limits.ts'
import { TestManagement } from '../support/management.ts'
import { eventually } from '../support/settled.ts'

const PATH = '/accounts/cutover?destination=new'

describe('POST /accounts/cutover', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start()
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.calls.length = 0
    api.operations.kicked = 3
    api.operations.mappings.clear()
    api.operations.mappings.set('carol', 'old')
    api.operations.failure = undefined
    api.operations.moves = undefined
    api.audits.length = 0
  })

  const lines = (text: string): Record<string, unknown>[] => text.trimEnd().split('\n').map((line) => JSON.parse(line))

  test('moves an account and tells what came of each step; again, it is unchanged', async () => {
    const moved = await api.askJson('POST', `${PATH}&identifier=Carol&hold=7`)
    assert.equal(moved.status, 200, moved.text)
    assert.deepEqual(moved.json, {
      result: 'moved',
      identifier: 'carol',
      destination: 'new',
      from: 'old',
      sessions_ended: 3,
      ms: 2,
      steps: [{ step: 'kick', outcome: 'ok', ms: 1 }],
      workers: 2,
      workers_expected: 2,
      peers: [],
      unconfirmed: [],
      bus: 'none',
    })
    assert.deepEqual(api.operations.calls, [['cutover', { identifier: 'carol', destination: 'new', hold: 7, client: '127.0.0.1' }]])
    assert.equal((await api.ask('POST', `${PATH}&identifier=carol`)).text, 'unchanged, 3 sessions ended\n')
    assert.deepEqual(api.audits.map(({ change, account, outcome, facts }) => [change, account, outcome, facts?.['result']]), [
      ['account_cutover', 'carol', 'ok', 'moved'],
      ['account_cutover', 'carol', 'ok', 'unchanged'],
    ])
  })

  test('holds for CUTOVER_HOLD_SECONDS unless it is told otherwise', async () => {
    await api.ask('POST', `${PATH}&identifier=carol`)
    assert.deepEqual(api.operations.calls, [['cutover', { identifier: 'carol', destination: 'new', hold: CUTOVER_HOLD_SECONDS, client: '127.0.0.1' }]])
  })

  test('holds for DELAY_SECONDS if it is told so, and no longer', async () => {
    assert.equal((await api.ask('POST', `${PATH}&identifier=carol&hold=${DELAY_SECONDS}`)).status, 200)
    assert.equal((await api.ask('POST', `${PATH}&identifier=carol&hold=${DELAY_SECONDS + 1}`)).status, 400)
    assert.deepEqual(api.operations.calls, [['cutover', { identifier: 'carol', destination: 'new', hold: DELAY_SECONDS, client: '127.0.0.1' }]])
  })

  test('is 409 while somebody else moves it, and says who and since when', async () => {
    api.operations.moves = () => ({ result: 'busy', holder: { id: 'x', who: 'mx2 for 192.0.2.7', since: Date.UTC(2026, 0, 2) } })
    const { status, json } = await api.askJson('POST', `${PATH}&identifier=carol`)
    assert.equal(status, 409)
    assert.deepEqual(json, {
      error: 'the account is being moved by mx2 for 192.0.2.7, since 2026-01-02T00:00:00.000Z',
      code: 'CUTOVER_UNDER_WAY',
      by: 'mx2 for 192.0.2.7',
      since: '2026-01-02T00:00:00.000Z',
    })
  })

  test('is 502 when a step fails, and names it', async () => {
    const confirmation = { workers: 2, workersExpected: 2, peers: [{ instance: 'mx2', acknowledged: false }], bus: 'up' } as const
    api.operations.moves = () => ({
      result: 'failed',
      step: 'kick',
      error: new SignalboxError('ACTOR_DEADLINE', 'not confirmed by peer mx2'),
      putBack: 'done',
      from: 'old',
      sessionsEnded: 1,
      steps: [{ step: 'kick', outcome: 'failed', ms: 2_000, reason: 'not confirmed by peer mx2' }],
      ms: 2_010,
      confirmation,
    })
    const { status, text, headers } = await api.ask('POST', `${PATH}&identifier=carol`)
    assert.deepEqual([status, text], [502, 'kick: not confirmed by peer mx2; the mapping was put back\n'])
    assert.equal(headers['signalbox-unconfirmed'], 'mx2')
    const { json } = await api.askJson('POST', `${PATH}&identifier=carol`)
    const { step, cause, put_back, unconfirmed } = json as Record<string, unknown>
    assert.deepEqual([step, cause, put_back, unconfirmed], ['kick', 'ACTOR_DEADLINE', 'done', ['mx2']])
  })

  test('has the statuses of a write when it could not even begin', async () => {
    for (const [code, expected] of [['SOURCE_READ_ONLY', 501], ['BUS_PEER_LACKS', 409], ['SOURCE_UNAVAILABLE', 503]] as const) {
      api.operations.failure = new SignalboxError(code, 'words')
      assert.equal((await api.ask('POST', `${PATH}&identifier=carol`)).status, expected)
    }
  })

  for (const [query, body, words] of [
    ['destination=new', '', /^identifier: is missing, and the body lists none/],
    ['destination=new', '[]', /^identifier: is missing/],
    ['destination=new&identifier=carol', 'dave', /^identifier: is given, and the body lists/],
    ['destination=new&identifier=', '', /^identifier: is empty/],
    ['identifier=carol', '', /^destination: is missing/],
    ['destination=moon&identifier=carol', '', /^destination: no destination "moon"/],
    ['destination=new&identifier=carol&hold=0', '', /^hold: /],
    ['destination=new&identifier=carol&hold=121', '', /^hold: /],
    ['destination=new', '[1]', /out of place/],
  ] as const) {
    test(`is 400 and moves nobody: ?${query} with ${JSON.stringify(body)}`, async () => {
      const { status, text } = await api.ask('POST', `/accounts/cutover?${query}`, { body })
      assert.equal(status, 400, text)
      assert.match(text, words)
      assert.deepEqual(api.operations.calls, [])
    })
  }

  for (const body of ['carol\r\nDave\ncarol\n', '["carol", "Dave", "carol"]']) {
    test(`moves every account of a list: ${JSON.stringify(body)}`, async () => {
      api.operations.mappings.set('dave', 'new')
      const { status, headers, text } = await api.ask('POST', PATH, { body })
      assert.equal(status, 200)
      assert.match(String(headers['content-type']), /^application\/x-ndjson/)
      const told = lines(text)
      const last = told.pop()
      assert.deepEqual(told.map(({ identifier, result }) => `${String(identifier)} ${String(result)}`).toSorted(), ['carol moved', 'carol unchanged', 'dave unchanged'])
      assert.deepEqual(last, { done: true, accounts: 3, moved: 1, unchanged: 2, failed: 0, seconds: 0 })
      assert.equal(api.audits.length, 3)
    })
  }

  test('tells of accounts that fail, and goes on with the rest', async () => {
    api.operations.moves = ({ identifier }) => (identifier === 'busy' ? { result: 'busy', holder: { id: '', who: 'mx2', since: 0 } } : undefined)
    const { text } = await api.ask('POST', PATH, { body: `busy\n${'x'.repeat(600)}\ncarol` })
    const told = lines(text)
    assert.deepEqual(told.map(({ status }) => String(status)).slice(0, -1).toSorted(), ['200', '400', '409'])
    assert.deepEqual(told.at(-1), { done: true, accounts: 3, moved: 1, unchanged: 0, failed: 2, seconds: 0 })
  })

  test('ends with a line that says so when the list goes wrong in the middle', async () => {
    const { text } = await api.ask('POST', PATH, { body: '["carol", 7, "dave"]' })
    const told = lines(text)
    assert.deepEqual(told.map(({ identifier, done, code }) => [identifier, done, code]), [
      ['carol', undefined, undefined],
      [undefined, false, 'CLIENT_PROTOCOL'],
    ])
    assert.equal(api.operations.mappings.has('dave'), false)
  })

  test('has CUTOVERS_AT_ONCE accounts of a list under way, and begins the next one when one of them is through', async (t) => {
    const { operations } = api
    const gate = Promise.withResolvers<void>()
    t.after(() => {
      gate.resolve()
      operations.gate = Promise.resolve()
    })
    operations.gate = gate.promise
    const all = CUTOVERS_AT_ONCE + 1
    const answer = api.ask('POST', PATH, { body: Array.from({ length: all }, (_, i) => `account${i}\n`).join('') })
    await eventually(() => operations.calls.length >= CUTOVERS_AT_ONCE, 'as many as may be under way')
    for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(operations.calls.length, CUTOVERS_AT_ONCE)
    gate.resolve()
    const told = lines((await answer).text)
    assert.deepEqual([operations.calls.length, told.at(-1)?.['done'], told.at(-1)?.['accounts']], [all, true, all])
  })

  test('goes on after CUTOVER_FAILURES in a row less one, and gives up after so many', async () => {
    api.operations.failure = new SignalboxError('SOURCE_UNAVAILABLE', 'no')
    for (const [failures, done] of [[CUTOVER_FAILURES - 1, true], [CUTOVER_FAILURES, false]] as const) {
      const told = lines((await api.ask('POST', PATH, { body: Array.from({ length: failures }, (_, i) => `account${i}\n`).join('') })).text)
      assert.deepEqual([told.at(-1)?.['done'], told.at(-1)?.['failed']], [done, failures])
    }
  })

  test('gives up when a failure concerns everybody: at once, or after many in a row', async () => {
    const body = Array.from({ length: 1_000 }, (_, i) => `account${i}`).join('\n')
    api.operations.failure = new SignalboxError('SOURCE_READ_ONLY', 'no')
    const readOnly = lines((await api.ask('POST', PATH, { body })).text)
    assert.ok(readOnly.length < 400, String(readOnly.length))
    assert.equal(readOnly.at(-1)?.['code'], 'SOURCE_READ_ONLY')
    api.operations.failure = new SignalboxError('SOURCE_UNAVAILABLE', 'no')
    const away = lines((await api.ask('POST', PATH, { body })).text)
    assert.ok(away.length > CUTOVER_FAILURES && away.length < CUTOVER_FAILURES + 400, String(away.length))
    assert.equal(away.at(-1)?.['done'], false)
  })

  test('moves nobody more when the client goes; what is under way comes to its end and into the audit', async () => {
    const gate = Promise.withResolvers<void>()
    api.operations.gate = gate.promise
    const socket = await api.connect()
    const head = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\nTransfer-Encoding: chunked\r\n\r\n`
    const body = Array.from({ length: 500 }, (_, i) => `account${i}\n`).join('')
    socket.write(`${head}${body.length.toString(16)}\r\n${body}\r\n`)
    const deadline = process.hrtime.bigint() + 10_000_000_000n
    const until = async (condition: () => boolean): Promise<void> => {
      while (!condition()) {
        assert.ok(process.hrtime.bigint() < deadline)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await until(() => api.operations.calls.length > 0)
    socket.destroy()
    await until(() => api.server.connections === 0)
    const begun = api.operations.calls.length
    gate.resolve()
    await until(() => api.audits.length >= begun)
    for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve))
    assert.ok(api.operations.calls.length <= begun + 1, `${api.operations.calls.length} of ${begun}`)
    assert.ok(begun < 500)
    api.operations.gate = Promise.resolve()
  })
  test('begins no further account of a list when the instance begins to shut down, and the last line says so', async () => {
    const gate = Promise.withResolvers<void>()
    api.operations.gate = gate.promise
    const body = Array.from({ length: 1_000 }, (_, i) => `account${i}\n`).join('')
    const answer = api.ask('POST', PATH, { body })
    while (api.operations.calls.length === 0) await new Promise((resolve) => setImmediate(resolve))
    api.operations.ending.abort()
    const begun = api.operations.calls.length
    gate.resolve()
    const told = lines((await answer).text)
    const { seconds: _, ...last } = told.at(-1) ?? {}
    assert.deepEqual([told.length - 1, api.operations.calls.length], [begun, begun])
    assert.deepEqual(last, { done: false, accounts: begun, moved: begun, unchanged: 0, failed: 0, error: 'the instance is shutting down', code: 'DRAINING' })
    assert.equal((await api.ask('POST', PATH, { body })).status, 503)
    assert.equal((await api.ask('POST', `${PATH}&identifier=carol`)).status, 200, 'what is short is done to the end')
    api.operations.ending = new AbortController()
  })

  test('says that nobody can log in at the destination, of one account and of many', async () => {
    const warning = 'destination "new" was taken out by an operator (down); logins to it get the temporary failure'
    const confirmation = { workers: 2, workersExpected: 2, peers: [], bus: 'none' } as const
    api.operations.moves = () => ({ result: 'moved', from: 'old', sessionsEnded: 0, steps: [], ms: 1, confirmation, warning })
    const one = await api.askJson('POST', `${PATH}&identifier=carol`)
    assert.deepEqual([one.status, Reflect.get(Object(one.json), 'warning')], [200, warning])
    assert.equal((await api.ask('POST', `${PATH}&identifier=carol`)).text, `moved, 0 sessions ended; ${warning}\n`)
    assert.deepEqual(lines((await api.ask('POST', PATH, { body: 'a\n' })).text).map((line) => line['warning']), [warning, undefined])
  })

  test('refuses a list that is compressed', async () => {
    const { status, json } = await api.askJson('POST', PATH, { body: 'a\n', headers: { 'Content-Encoding': 'gzip' } })
    assert.deepEqual([status, Reflect.get(Object(json), 'code'), api.operations.calls], [415, 'UNSUPPORTED', []])
  })
})
