import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import { ADMIN_BODY, ADMIN_REQUEST_MS, ADMIN_HEAD } from '../../src/limits.ts'
import { namesJson } from '../../src/management/answer.ts'
import { routes } from '../../src/management/server.ts'
import { describe as describeRoute } from '../../src/management/route.ts'
import { TestManagement, readAll } from '../support/management.ts'

describe('odd requests to the management API', () => {
  let api: TestManagement
  before(async () => {
    api = await TestManagement.start({ lockoutThreshold: 0 })
  })
  after(() => api.stop())
  beforeEach(() => {
    api.operations.calls.length = 0
    api.operations.failure = undefined
  })
  const head = (line: string, ...headers: string[]) =>
    [line, 'Host: x', `Authorization: Bearer ${api.token}`, 'Connection: close', ...headers, '', ''].join('\r\n')

  test('who expects what nobody offers is told, and no body is waited for', async () => {
    const answer = await api.raw(head('PUT /mappings?identifier=a&destination=new HTTP/1.1', 'Expect: foo', 'Content-Length: 5'))
    assert.match(answer, /^HTTP\/1\.1 417 [^]*\r\n\r\nnothing but "100-continue" may be expected\n$/)
    const json = await api.raw(head('GET /stats HTTP/1.1', 'Expect: foo', 'Accept: application/json'))
    assert.match(json, /^HTTP\/1\.1 417 [^]*"code":"BAD_EXPECTATION"/)
    assert.deepEqual(api.operations.calls, [])
  })

  test('a method that HTTP does not know cannot be read', async () => {
    assert.match(await api.raw(head('FOO /stats HTTP/1.1')), /^HTTP\/1\.1 400 /)
  })

  test('an unknown path is 404', async () => {
    for (const path of ['/', '/nowhere', '/mappings/x', '/STATS', '//stats', '/stats//', '/healthz/x', '/fleet/a/b', '/%2e%2e/stats']) {
      const reply = await api.askJson('GET', path)
      assert.deepEqual([path, reply.status], [path, 404])
      assert.partialDeepStrictEqual(reply.json, { code: 'NOT_FOUND' })
    }
  })

  test('a wrong method is 405 with the right ones in Allow, also one that hardly anybody knows', async () => {
    for (const [method, path, allow] of [
      ['POST', '/stats', 'GET, HEAD'],
      ['PATCH', '/mappings', 'GET, HEAD, PUT, DELETE'],
      ['GET', '/connections/kick', 'POST'],
      ['HEAD', '/connections/kick', 'POST'],
      ['OPTIONS', '/mappings', 'GET, HEAD, PUT, DELETE'],
      ['PROPFIND', '/stats', 'GET, HEAD'],
      ['QUERY', '/stats', 'GET, HEAD'],
      ['DELETE', '/healthz', 'GET, HEAD'],
      ['DELETE', '/fleet', 'GET, HEAD'],
      ['DELETE', '/fleet/', 'GET, HEAD'],
      ['GET', '/fleet/two', 'DELETE'],
      ['HEAD', '/fleet/two/', 'DELETE'],
      ['PATCH', '/fleet/a%2Fb', 'DELETE'],
    ] as const) {
      const reply = await api.ask(method, path)
      assert.deepEqual([method, path, reply.status, reply.headers['allow']], [method, path, 405, allow])
    }
  })

  test('HEAD answers like GET without the body', async () => {
    for (const path of ['/healthz', '/stats', '/mappings?identifier=a']) {
      const get = await api.ask('GET', path)
      const reply = await api.ask('HEAD', path)
      assert.deepEqual([reply.status, reply.text], [200, ''])
      assert.equal(reply.headers['content-length'], String(Buffer.byteLength(get.text)))
    }
  })

  test('a trailing slash is ignored', async () => {
    for (const path of ['/healthz/', '/stats/', '/mappings/?identifier=a']) assert.equal((await api.ask('GET', path)).status, 200)
    assert.equal((await api.ask('POST', '/connections/kick/?identifier=a')).status, 200)
  })

  test('a path that is badly encoded is 400', async () => {
    assert.equal((await api.ask('GET', '/%zz')).status, 400)
    assert.equal((await api.ask('GET', '/st%')).status, 400)
  })

  test('JSON is given to those who name it and nobody else', () => {
    for (const accept of ['application/json', 'text/plain, application/json;q=0.5', 'Application/JSON; charset=utf-8']) {
      assert.equal(namesJson(accept), true, accept)
    }
    for (const accept of [undefined, '', '*/*', 'application/*', 'text/plain', 'application/json;q=0', 'application/json; q=0.00', 'application/jsonx']) {
      assert.equal(namesJson(accept), false, String(accept))
    }
  })

  const bodies: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
    ['JSON that is none', { 'content-type': 'application/json' }, '{"a":'],
    ['a content type that is none', { 'content-type': ';;; ///' }, 'x'],
    ['an empty content type', { 'content-type': '' }, 'x'],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 'identifier=mallory'],
    ['chunks', { 'transfer-encoding': 'chunked' }, 'x'.repeat(5000)],
    ['a polite question first', { expect: '100-continue' }, 'x'],
    ['an encoding nobody knows', { 'content-encoding': 'br' }, 'x'],
    ['a content type without a body', { 'content-type': 'application/json' }, ''],
  ]
  for (const [title, headers, body] of bodies) {
    test(`a body is ignored: ${title}`, async () => {
      for (const [method, path, text] of [
        ['POST', '/connections/kick?identifier=a', 'kicked 0\n'],
        ['PUT', '/mappings?identifier=a&destination=new', 'ok\n'],
        ['DELETE', '/mappings?identifier=a', 'removed\n'],
      ] as const) {
        const reply = await api.ask(method, path, { headers, body })
        assert.deepEqual([reply.status, reply.text], [200, text])
      }
      assert.equal((await api.ask('GET', '/healthz', { headers, body, token: null })).status, 200)
      assert.equal((await api.ask('POST', '/nowhere', { headers, body })).status, 404)
      assert.equal((await api.ask('POST', '/nowhere', { headers, body, token: null })).status, 401)
      assert.ok(!JSON.stringify(api.operations.calls).includes('mallory'))
    })
  }

  test(`a body of ${ADMIN_BODY} bytes is read over, one byte more is 413 and the end of the connection`, async () => {
    for (const headers of [{}, { 'transfer-encoding': 'chunked' }] as readonly Record<string, string>[]) {
      const fits = await api.ask('POST', '/cache/invalidate', { headers, body: Buffer.alloc(ADMIN_BODY) })
      assert.equal(fits.status, 200)
      api.operations.calls.length = 0
    }
    const path = '/cache/invalidate'
    const declared = await api.raw(head(`POST ${path} HTTP/1.1`, `Content-Length: ${ADMIN_BODY + 1}`).replace('Connection: close\r\n', ''))
    assert.match(declared, /^HTTP\/1\.1 413 /)
    assert.match(declared, /\r\nconnection: close\r\n/i)
    const socket = await api.connect()
    const answer = readAll(socket)
    socket.write(head(`POST ${path} HTTP/1.1`, 'Transfer-Encoding: chunked').replace('Connection: close\r\n', ''))
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
    for (let i = 0; i < ADMIN_BODY / 0x10000; i++) socket.write(chunk)
    socket.write('1\r\nx\r\n')
    assert.match(await answer, /^HTTP\/1\.1 413 /)
    assert.deepEqual(api.operations.calls, [], 'nothing is carried out')
  })

  test('a body that does not come in time is 408 and the end of the connection; nothing is carried out', async () => {
    const socket = await api.connect()
    const timers = api.clock.pending
    socket.write(head('POST /cache/invalidate HTTP/1.1', 'Content-Length: 10').replace('Connection: close\r\n', ''))
    socket.write('12345')
    while (api.clock.pending === timers) await new Promise((resolve) => setImmediate(resolve))
    const waiting = api.clock.pending
    api.clock.advance(ADMIN_REQUEST_MS - 1)
    assert.equal(api.clock.pending, waiting, 'it is still waited for')
    api.clock.advance(1)
    const answer = await readAll(socket)
    assert.match(answer, /^HTTP\/1\.1 408 [^]*the body did not come in time\n$/)
    assert.match(answer, /\r\nconnection: close\r\n/i)
    assert.deepEqual(api.operations.calls, [])
  })

  test('half a request is not carried out', async () => {
    const socket = await api.connect()
    socket.write(head('POST /cache/invalidate HTTP/1.1', 'Content-Length: 10'))
    socket.write('12345')
    while (api.server.connections === 0) await new Promise((resolve) => setImmediate(resolve))
    socket.end()
    await readAll(socket)
    assert.equal((await api.ask('GET', '/healthz')).status, 200)
    assert.deepEqual(api.operations.calls, [])
  })

  test('a head that is too large is 431, one below the bound is read', async () => {
    const fits = await api.raw(head('GET /healthz HTTP/1.1', `X: ${'y'.repeat(ADMIN_HEAD - 400)}`))
    assert.match(fits, /^HTTP\/1\.1 200 /)
    for (const header of [`X: ${'y'.repeat(ADMIN_HEAD + 1)}`, Array.from({ length: 4000 }, (_, i) => `X-${i}: y`).join('\r\n')]) {
      assert.match(await api.raw(head('GET /healthz HTTP/1.1', header)), /^HTTP\/1\.1 431 /)
    }
    assert.match(await api.raw(head(`GET /mappings?identifier=${'a'.repeat(ADMIN_HEAD)} HTTP/1.1`)), /^HTTP\/1\.1 431 /)
  })

  test('what is no request is 400 and closes the connection', async () => {
    for (const bytes of [
      'nonsense\r\n\r\n',
      'GET /healthz HTTP/9.9\r\n\r\n',
      'GET /healthz HTTP/1.1\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: x\r\nX: y\r\n z\u0000\r\n\r\n',
      '\u0016\u0003\u0001\r\n\r\n',
    ]) {
      assert.match(await api.raw(bytes), /^HTTP\/1\.1 400 /, JSON.stringify(bytes))
    }
  })

  test('garbage behind a request gets no answer of its own, the request gets its', async () => {
    let open = () => {}
    api.operations.gate = new Promise((resolve) => {
      open = resolve
    })
    const socket = await api.connect()
    const answer = readAll(socket)
    socket.write(`${head('POST /cache/invalidate HTTP/1.1').replace('Connection: close\r\n', '')}garbage\r\n\r\n`)
    while (api.operations.calls.length === 0) await new Promise((resolve) => setImmediate(resolve))
    open()
    assert.match(await answer, /^HTTP\/1\.1 200 [^]*\r\n\r\nok\n$/)
    api.operations.gate = Promise.resolve()
  })

  test('bad chunks are 400 and carry nothing out', async () => {
    const answer = await api.raw(`${head('POST /cache/invalidate HTTP/1.1', 'Transfer-Encoding: chunked')}zz\r\n`)
    assert.match(answer, /^HTTP\/1\.1 400 /)
    assert.deepEqual(api.operations.calls, [])
  })

  test('two tokens in one request are one too many', async () => {
    const answer = await api.raw(head('GET /stats HTTP/1.1', `Authorization: Bearer ${api.token}`))
    assert.match(answer, /^HTTP\/1\.1 401 /)
  })

  test('no answer may be cached or taken for HTML', async () => {
    for (const path of ['/healthz', '/stats', '/nowhere']) {
      const { headers } = await api.ask('GET', path)
      assert.deepEqual([headers['cache-control'], headers['x-content-type-options']], ['no-store', 'nosniff'])
    }
  })

  test('whatever is asked, the answer is a documented one and never a 500', async () => {
    const documented = new Set(
      routes.flatMap((route) => Object.keys(describeRoute(route).response).map(Number)).concat(404, 405, 408, 417, 431),
    )
    documented.delete(500)
    const name = fc.oneof(fc.constantFrom('identifier', 'destination', 'seconds', 'workers'), fc.string({ maxLength: 8 }))
    const value = fc.oneof(
      fc.constantFrom('a', 'old', 'new', '7', 'all', '%', '%00', '%ff', '+', '__proto__'),
      fc.string({ unit: 'binary', maxLength: 20 }).map((text) => encodeURIComponent(text.toWellFormed())),
      fc.stringMatching(/^[\x21-\x22\x24-\x7e]{0,30}$/),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS', 'SEARCH', 'QUERY'),
        fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...routes.map(({ path }) => path).filter((path) => path !== '/events'), '/fleet/two', '/fleet/three/', '/fleet/%00', '/fleet/%ff%zz', '/fleet//') }, fc.stringMatching(/^\/[\x21-\x22\x24-\x7e]{0,20}$/)),
        fc.array(fc.tuple(name.map((text) => encodeURIComponent(text.toWellFormed())), value), { maxLength: 4 }),
        fc.record({ json: fc.boolean(), authorized: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)) }),
        fc.option(fc.tuple(fc.stringMatching(/^[\x21-\x7e]{0,20}$/), fc.uint8Array({ maxLength: 100 }))),
        async (method, path, query, how, body) => {
          const reply = await api.ask(method, `${path}?${query.map((pair) => pair.join('=')).join('&')}`, {
            ...(how.authorized ? {} : { token: null }),
            headers: { ...(how.json ? { accept: 'application/json' } : {}), ...(body === null ? {} : { 'content-type': body[0] }) },
            ...(body === null ? {} : { body: Buffer.from(body[1]) }),
          })
          assert.ok(documented.has(reply.status), `${reply.status}`)
          const streamed = /^(?:text\/(?:event-stream|plain; version)|application\/x-ndjson|text\/tab-)/.test(String(reply.headers['content-type']))
          if (method !== 'HEAD' && !streamed) assert.ok(reply.json !== undefined || /^[^\n]+\n/.test(reply.text), reply.text)
          if (how.json && method !== 'HEAD' && !streamed) assert.notEqual(reply.json, undefined)
        },
      ),
      { numRuns: 300 },
    )
    assert.deepEqual(api.lines.filter(({ event }) => event === 'management_failed'), [])
  })
})
