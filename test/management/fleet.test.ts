import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { SignalboxError } from '../../src/errors.ts'
import { IDENTIFIER } from '../../src/limits.ts'
import { TestManagement } from '../support/management.ts'
import { instance } from '../support/operations.ts'

describe('the fleet in the management API', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start()
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.instances = [instance('one', 'self'), instance('two', 'live'), instance('three', 'lost')]
    api.operations.failure = undefined
    api.operations.calls.length = 0
    api.audits.length = 0
  })

  test('the fleet is JSON whatever is accepted, with every field of every instance', async () => {
    const reply = await api.ask('GET', '/fleet', { headers: { accept: 'text/plain' } })
    assert.equal(reply.status, 200)
    assert.deepEqual(reply.json, await api.operations.fleet())
    assert.deepEqual(api.audits, [])
  })

  test('strangers are told of with all that is known of them', async () => {
    const strangers = { frames: 3, names: ['b'], since: '2026-01-01T00:00:00.000Z', last: '2026-01-01T00:00:01.000Z', reason: 'a bus frame is not authenticated' }
    api.operations.strangers = strangers
    try {
      const { json } = await api.ask('GET', '/fleet')
      assert.partialDeepStrictEqual(json, { strangers })
    } finally {
      api.operations.strangers = null
    }
  })

  test('a lost instance is forgotten once, then it is not known', async () => {
    const json = await api.askJson('DELETE', '/fleet/three')
    assert.deepEqual([json.status, json.json], [200, { result: 'forgotten', instance: 'three' }])
    assert.equal(api.operations.instances.length, 2)
    const again = await api.askJson('DELETE', '/fleet/three')
    assert.deepEqual([again.status, again.json], [404, { error: 'instance: "three" is not known here', code: 'NOT_FOUND' }])
    api.operations.instances.push(instance('three', 'lost'))
    assert.equal((await api.ask('DELETE', '/fleet/three/')).text, 'forgotten\n')
  })

  test('a live instance and this one are not forgotten: 409', async () => {
    for (const [name, sentence] of [
      ['two', 'instance: "two" is live, only a lost one is forgotten'],
      ['one', 'instance: "one" is this instance'],
    ] as const) {
      const reply = await api.askJson('DELETE', `/fleet/${name}`)
      assert.deepEqual([reply.status, reply.json], [409, { error: sentence, code: 'NOT_LOST' }])
    }
    assert.equal(api.operations.instances.length, 3)
  })

  test('one that is lost in the moment between the two questions is 409 and can be asked for again', async () => {
    const { operations } = api
    const lost = instance('two', 'lost')
    const forget = operations.forget.bind(operations)
    operations.forget = async (name) => {
      const forgotten = await forget(name)
      operations.instances = [instance('one', 'self'), lost]
      return forgotten
    }
    try {
      assert.equal((await api.ask('DELETE', '/fleet/two')).text, 'instance: "two" was live until this moment, ask again\n')
    } finally {
      operations.forget = forget
    }
    assert.equal((await api.ask('DELETE', '/fleet/two')).text, 'forgotten\n')
  })

  test('the name is decoded strictly, once, and may hold a slash, a plus and any language', async () => {
    for (const name of ['a/b', 'a+b', '%41', 'a?b#c', 'ä.example', '日本', ':instance', '..', 'a b', '"', '{instance}']) {
      api.operations.instances = [instance(name, 'lost')]
      const reply = await api.askJson('DELETE', `/fleet/${encodeURIComponent(name)}`)
      assert.deepEqual([reply.status, reply.json], [200, { result: 'forgotten', instance: name }])
    }
  })

  for (const [title, encoded, sentence] of [
    ['a NUL', 'a%00', 'instance: holds a control character'],
    ['a line break', 'a%0D%0AX:%20y', 'instance: holds a control character'],
    ['a DEL', '%7f', 'instance: holds a control character'],
    ['a name too long', 'x'.repeat(IDENTIFIER + 1), `instance: is longer than ${IDENTIFIER} bytes`],
    ['a name too long once encoded in UTF-8', '%C3%A4'.repeat(IDENTIFIER / 2 + 1), `instance: is longer than ${IDENTIFIER} bytes`],
    ['half an escape', 'a%4', 'instance: is not properly percent-encoded'],
    ['an escape that is none', '%zz', 'instance: is not properly percent-encoded'],
    ['bytes that are no UTF-8', '%ff', 'instance: is not properly percent-encoded'],
    ['an overlong slash', '%c0%af', 'instance: is not properly percent-encoded'],
    ['a raw number sign', 'three#x', 'instance: is not properly percent-encoded'],
    ['nothing', '/', 'instance: is empty'],
  ] as const) {
    test(`${title} in the path is 400 and names the parameter`, async () => {
      const reply = await api.askJson('DELETE', `/fleet/${encoded}`)
      assert.deepEqual([reply.status, reply.json], [400, { error: sentence, code: 'BAD_PARAMETER', parameter: 'instance' }])
      assert.deepEqual(api.operations.calls, [])
      assert.deepEqual(api.audits.map(({ change, outcome, status }) => [change, outcome, status]), [['fleet_forget', 'BAD_PARAMETER', 400]])
    })
  }

  test('raw bytes beyond ASCII in the path are 400', async () => {
    const answer = await api.raw(
      Buffer.from(`DELETE /fleet/\u00e4 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${api.token}\r\nConnection: close\r\n\r\n`, 'latin1'),
    )
    assert.match(answer, /^HTTP\/1\.1 400 /)
    assert.deepEqual(api.operations.calls, [])
  })

  test('the longest name that is allowed is carried to the operation', async () => {
    const name = 'ä'.repeat(IDENTIFIER / 2)
    assert.equal((await api.ask('DELETE', `/fleet/${encodeURIComponent(name)}`)).status, 404)
    assert.deepEqual(api.operations.calls[0], ['forget', name])
  })

  test('the path counts, not a parameter of that name in the query; unknown parameters are ignored', async () => {
    assert.equal((await api.ask('DELETE', '/fleet/three?instance=two&x=y')).text, 'forgotten\n')
    assert.equal((await api.ask('DELETE', '/fleet/two?instance=a&instance=b')).text, 'instance: is given more than once\n')
  })

  test('every wish to forget is audited with the instance and what came of it; a fleet that cannot be asked is 503', async () => {
    await api.ask('DELETE', '/fleet/three')
    await api.ask('DELETE', '/fleet/two')
    await api.ask('DELETE', '/fleet/four')
    api.operations.failure = new SignalboxError('ACTOR_DEADLINE', 'no answer in time')
    await api.ask('DELETE', '/fleet/four')
    assert.equal((await api.ask('GET', '/fleet')).status, 503)
    assert.deepEqual(api.audits.map(({ change, outcome, status, facts, client }) => [change, outcome, status, facts, client]), [
      ['fleet_forget', 'ok', 200, { instance: 'three' }, '127.0.0.1'],
      ['fleet_forget', 'NOT_LOST', 409, { instance: 'two' }, '127.0.0.1'],
      ['fleet_forget', 'NOT_FOUND', 404, { instance: 'four' }, '127.0.0.1'],
      ['fleet_forget', 'ACTOR_DEADLINE', 503, undefined, '127.0.0.1'],
    ])
  })

  test('a stranger learns nothing of paths, readable or not', async () => {
    for (const path of ['/fleet', '/fleet/one', '/fleet/%zz']) {
      const reply = await api.ask('DELETE', path, { token: 'wrong' })
      assert.ok(reply.status === 401 || reply.status === 429, `${path}: ${reply.status}`)
      await api.ask('GET', '/stats')
    }
    assert.deepEqual([api.audits, api.operations.calls.filter(([name]) => name !== 'stats')], [[], []])
  })
})
