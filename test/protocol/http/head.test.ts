import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { readHead, type RawHead } from '../../../src/protocol/http/head.ts'
import { asksForWebSocket, requestFields } from '../../../src/protocol/http/messages.ts'
import { valuesOf } from '../../../src/protocol/http/fields.ts'

const GET: RawHead = { version: '1.1', method: 'GET', target: '/a?b', fields: ['Host', 'example.com'] }
const OPTIONS = { announce: undefined, trusted: false, defaultHost: 'backend', continued: false, upgrade: false }

function refused(raw: Partial<RawHead>, status: 400 | 405 = 400): void {
  const result = readHead({ ...GET, ...raw })
  assert.equal('status' in result ? result.status : 'taken', status, JSON.stringify(raw))
}

function taken(raw: Partial<RawHead>, ended = false) {
  const result = readHead({ ...GET, ...raw }, ended)
  if ('status' in result) assert.fail(result.reason)
  return result
}

describe('the head of a request', () => {
  it('has a target, a path, a host and no body', () => {
    const { target, path, host, body } = taken({})
    assert.deepEqual({ target, path, host, body }, { target: '/a?b', path: '/a', host: 'example.com', body: { kind: 'none' } })
  })

  it('is refused for what two servers could read in two ways', () => {
    refused({ fields: ['Host', 'a', 'Host', 'b'] })
    refused({ fields: ['Host', 'a', 'Host', 'a'] })
    refused({ fields: [] })
    refused({ fields: ['Host', 'a b'] })
    refused({ fields: ['Host', 'user@a'] })
    refused({ fields: ['Host', 'a/b'] })
    refused({ fields: ['Host', 'a', 'Content-Length', '5', 'Content-Length', '5'] })
    refused({ fields: ['Host', 'a', 'Content-Length', '5, 5'] })
    refused({ fields: ['Host', 'a', 'Content-Length', '+5'] })
    refused({ fields: ['Host', 'a', 'Content-Length', '-1'] })
    refused({ fields: ['Host', 'a', 'Content-Length', '0x5'] })
    refused({ fields: ['Host', 'a', 'Content-Length', ''] })
    refused({ fields: ['Host', 'a', 'Content-Length', '9'.repeat(16)] })
    refused({ fields: ['Host', 'a', 'Content-Length', '5', 'Transfer-Encoding', 'chunked'] })
    refused({ fields: ['Host', 'a', 'Transfer-Encoding', 'gzip, chunked'] })
    refused({ fields: ['Host', 'a', 'Transfer-Encoding', 'identity'] })
    refused({ fields: ['Host', 'a', 'Transfer-Encoding', 'chunked', 'transfer-encoding', 'chunked'] })
    refused({ fields: ['Host', 'a', 'Transfer-Encoding', '\u000bchunked'] })
    refused({ version: '1.0', fields: ['Transfer-Encoding', 'chunked'] })
    refused({ version: '2', fields: ['Host', 'a', 'Transfer-Encoding', 'chunked'] })
    refused({ version: '2', authority: 'a', fields: ['host', 'b'] })
    refused({ fields: ['Host', 'a', 'Authorization', 'Basic a', 'authorization', 'Basic b'] })
    refused({ fields: ['Host', 'a', 'X:Y', 'b'] })
    refused({ fields: ['Host', 'a', 'X ', 'b'] })
    refused({ fields: ['Host', 'a', 'X', 'b\r\nY: c'] })
    refused({ fields: ['Host', 'a', 'X', 'b\nY: c'] })
    refused({ fields: ['Host', 'a', 'X', 'b\u0000'] })
    refused({ method: 'GET /x' })
    refused({ method: '' })
    refused({ target: '' })
    refused({ target: 'a' })
    refused({ target: '*' })
    refused({ target: '/a b' })
    refused({ target: '/a#b' })
    refused({ target: '/a\u0000' })
    refused({ target: 'http://other.example.com/' })
    refused({ target: 'http://user@example.com/' })
    refused({ target: 'ftp://example.com/' })
    refused({ target: 'example.com:80' })
  })

  it('with TRACE or CONNECT is not served', () => {
    refused({ method: 'TRACE' }, 405)
    refused({ method: 'CONNECT', target: 'example.com:443' }, 405)
  })

  it('in absolute form is turned into the other one', () => {
    assert.equal(taken({ target: 'http://EXAMPLE.com/x?y' }).target, '/x?y')
    assert.equal(taken({ target: 'https://example.com' }).target, '/')
    assert.equal(taken({ target: 'http://example.com?x' }).target, '/?x')
  })

  it('of HTTP/1.0 needs no host, and OPTIONS may be for the server as such', () => {
    assert.equal(taken({ version: '1.0', fields: [] }).host, undefined)
    assert.equal(taken({ method: 'OPTIONS', target: '*' }).target, '*')
  })

  it('of HTTP/2 has its host in the authority, and a body until it says otherwise', () => {
    const h2: Partial<RawHead> = { version: '2', authority: 'example.com', fields: [] }
    assert.equal(taken(h2).host, 'example.com')
    assert.deepEqual(taken(h2).body, { kind: 'chunked' })
    assert.deepEqual(taken(h2, true).body, { kind: 'none' })
  })

  it('never crashes, and what it takes frames one message only', () => {
    const name = fc.oneof(fc.constantFrom('Host', 'host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Expect', 'TE'), fc.string({ maxLength: 6 }))
    const value = fc.oneof(fc.constantFrom('a', '5', 'chunked', 'close, host', '100-continue', 'content-length'), fc.string({ maxLength: 6 }))
    const raw = fc.record({
      version: fc.constantFrom('1.0' as const, '1.1' as const, '2' as const),
      method: fc.oneof(fc.constantFrom('GET', 'POST', 'TRACE', 'PROPFIND'), fc.string({ maxLength: 5 })),
      target: fc.oneof(fc.constantFrom('/', '*', '/a?b', 'http://a/'), fc.string({ maxLength: 8 })),
      fields: fc.array(fc.tuple(name, value), { maxLength: 6 }).map((pairs) => pairs.flat()),
    })
    fc.assert(
      fc.property(raw, (raw) => {
        const head = readHead(raw)
        if ('status' in head) return
        const fields = requestFields(head, OPTIONS)
        assert.equal(valuesOf(fields, 'host').length, 1)
        assert.ok(valuesOf(fields, 'content-length').length + valuesOf(fields, 'transfer-encoding').length <= 1)
        assert.ok(/^(?:\/[^ #\r\n]*|\*)$/.test(head.target))
        for (const text of fields) assert.ok(!/[\r\n\0]/.test(text))
      }),
      { numRuns: 3_000 },
    )
  })
})

describe('the request that goes on', () => {
  const fieldsOf = (raw: Partial<RawHead>, options: Partial<Parameters<typeof requestFields>[1]> = {}) => requestFields(taken(raw), { ...OPTIONS, ...options })

  it('has framing of its own', () => {
    assert.deepEqual(fieldsOf({}), ['Host', 'example.com'])
    assert.deepEqual(fieldsOf({ method: 'POST' }), ['Host', 'example.com', 'Content-Length', '0'])
    assert.deepEqual(fieldsOf({ method: 'POST', fields: ['Host', 'a', 'content-length', '007'] }), ['Host', 'a', 'Content-Length', '7'])
    assert.deepEqual(fieldsOf({ method: 'POST', fields: ['Host', 'a', 'transfer-encoding', 'CHUNKED'] }), ['Host', 'a', 'Transfer-Encoding', 'chunked'])
    assert.deepEqual(fieldsOf({ version: '1.0', fields: [] }), ['Host', 'backend'])
  })

  it('keeps its framing and its host when Connection names them', () => {
    assert.deepEqual(fieldsOf({ method: 'POST', fields: ['Host', 'a', 'Content-Length', '3', 'Connection', 'content-length, host'] }), ['Host', 'a', 'Content-Length', '3'])
  })

  it('passes Expect on unless it was answered', () => {
    const fields = ['Host', 'a', 'Expect', '100-continue', 'Content-Length', '3']
    assert.deepEqual(valuesOf(fieldsOf({ fields }), 'expect'), ['100-continue'])
    assert.deepEqual(valuesOf(fieldsOf({ fields }, { continued: true }), 'expect'), [])
  })

  it('tells of the client only what is known or believed', () => {
    const fields = ['Host', 'a', 'X-Forwarded-For', '6.6.6.6', 'Forwarded', 'for=6.6.6.6']
    const announce = { address: '192.0.2.7', secure: true }
    assert.deepEqual(fieldsOf({ fields }), ['Host', 'a'])
    assert.deepEqual(valuesOf(fieldsOf({ fields }, { announce }), 'x-forwarded-for'), ['192.0.2.7'])
    assert.deepEqual(valuesOf(fieldsOf({ fields }, { announce, trusted: true }), 'x-forwarded-for'), ['6.6.6.6, 192.0.2.7'])
    assert.deepEqual(valuesOf(fieldsOf({ fields }, { trusted: true }), 'x-forwarded-for'), ['6.6.6.6'])
  })

  it('has one cookie field', () => {
    assert.deepEqual(valuesOf(fieldsOf({ version: '2', authority: 'a', fields: ['cookie', 'a=1', 'x', 'y', 'cookie', 'b=2'] }), 'cookie'), ['a=1; b=2'])
  })

  it('asks for an upgrade only to a WebSocket, only with GET, only without a body', () => {
    const upgrade = ['Host', 'a', 'Connection', 'keep-alive, Upgrade', 'Upgrade', 'WebSocket']
    assert.equal(asksForWebSocket(taken({ fields: upgrade })), true)
    assert.equal(asksForWebSocket(taken({ fields: [...upgrade, 'Content-Length', '5'] })), false)
    assert.equal(asksForWebSocket(taken({ method: 'POST', fields: upgrade })), false)
    assert.equal(asksForWebSocket(taken({ fields: ['Host', 'a', 'Connection', 'Upgrade', 'Upgrade', 'h2c'] })), false)
    assert.equal(asksForWebSocket(taken({ fields: ['Host', 'a', 'Upgrade', 'websocket'] })), false)
    assert.deepEqual(fieldsOf({ fields: upgrade }, { upgrade: true }), ['Host', 'a', 'Connection', 'Upgrade', 'Upgrade', 'websocket'])
    assert.deepEqual(fieldsOf({ fields: ['Host', 'a', 'Connection', 'Upgrade, HTTP2-Settings', 'Upgrade', 'h2c', 'HTTP2-Settings', 'x'] }), ['Host', 'a'])
  })
})
