import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { endToEnd, passingTrailers, valuesOf, withoutClaims } from '../../../src/protocol/http/fields.ts'
import { withForwarded } from '../../../src/protocol/http/forwarded.ts'

const NAMES = ['Accept', 'X-One', 'x-one', 'Connection', 'Keep-Alive', 'TE', 'Transfer-Encoding', 'Upgrade', 'Proxy-Connection', 'Proxy-Authorization', 'Cookie'] as const
const field = fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom('a', 'x-one', 'close, X-One', 'keep-alive'))
const fields = fc.array(field, { maxLength: 12 }).map((pairs) => pairs.flat())

describe('header fields on their way', () => {
  it('leave behind what belongs to one connection, and what Connection names', () => {
    const sent = ['Host', 'a', 'Connection', 'close, X-Secret', 'x-secret', '1', 'Keep-Alive', '5', 'TE', 'trailers', 'Accept', '*/*', 'Upgrade', 'h2c', 'HTTP2-Settings', 'x']
    assert.deepEqual(endToEnd(sent), ['Host', 'a', 'Accept', '*/*'])
  })

  it('keep everything else, in its order, with its repetitions, as it was written', () => {
    fc.assert(
      fc.property(fields, (sent) => {
        const named = new Set(valuesOf(sent, 'connection').flatMap((value) => value.split(',').map((name) => name.trim().toLowerCase())))
        const hop = new Set(['connection', 'keep-alive', 'te', 'transfer-encoding', 'upgrade', 'proxy-connection', 'proxy-authorization'])
        const expected: string[] = []
        for (let at = 0; at < sent.length; at += 2) {
          const name = sent[at] ?? ''
          if (!hop.has(name.toLowerCase()) && !named.has(name.toLowerCase())) expected.push(name, sent[at + 1] ?? '')
        }
        assert.deepEqual(endToEnd(sent), expected)
        assert.deepEqual(endToEnd(endToEnd(sent)), endToEnd(sent))
      }),
    )
  })

  it('say nothing about the client that it said itself, with hyphens or underscores', () => {
    const sent = ['Forwarded', 'for=1.2.3.4', 'X-Forwarded-For', '1.2.3.4', 'x_forwarded_for', '1.2.3.4', 'X-Forwarded-Proto', 'https', 'X-Real-IP', '1.1.1.1', 'X-Other', 'a']
    assert.deepEqual(withoutClaims(sent), ['X-Other', 'a'])
    for (const name of ['X-Forwarded', 'X-Forwarded-User', 'X-Forwarded-Prefix', 'x-forwarded_ssl', 'X-Forwarded-Scheme', 'X-Client-IP', 'X-Cluster-Client-IP', 'True-Client-IP', 'Client_IP', 'X-Original-URL', 'X-Rewrite-URL', 'X-Original-Host', 'X-Original-Forwarded-For']) {
      assert.deepEqual(withoutClaims([name, 'a', 'X-Other', 'b']), ['X-Other', 'b'], name)
      assert.deepEqual(passingTrailers([name, 'a', 'X-Other', 'b']), ['X-Other', 'b'], name)
    }
  })

  it('bring no framing, routing or credentials in a trailer', () => {
    const sent = ['Content-Length', '5', 'Transfer-Encoding', 'chunked', 'Host', 'a', 'Authorization', 'x', 'X_Forwarded_For', '1', 'X-Checksum', 'abc']
    assert.deepEqual(passingTrailers(sent), ['X-Checksum', 'abc'])
  })
})

describe('Forwarded and X-Forwarded-For', () => {
  it('are made for a client of IPv4 and of IPv6', () => {
    assert.deepEqual(withForwarded([], { address: '192.0.2.1', secure: true, host: 'mail.example.com' }), ['Forwarded', 'for=192.0.2.1;proto=https;host=mail.example.com', 'X-Forwarded-For', '192.0.2.1'])
    assert.deepEqual(withForwarded([], { address: '2001:db8::1', secure: false, host: 'example.com:8080' }), ['Forwarded', 'for="[2001:db8::1]";proto=http;host="example.com:8080"', 'X-Forwarded-For', '2001:db8::1'])
  })

  it('go behind what others have said, each in one field', () => {
    const sent = ['x-forwarded-for', '10.0.0.1', 'A', 'b', 'forwarded', 'for=10.0.0.1', 'X-Forwarded-For', '10.0.0.2']
    assert.deepEqual(withForwarded(sent, { address: '10.0.0.3', secure: false, host: undefined }), ['A', 'b', 'Forwarded', 'for=10.0.0.1, for=10.0.0.3;proto=http', 'X-Forwarded-For', '10.0.0.1, 10.0.0.2, 10.0.0.3'])
  })

  it('end with our own words, whatever the host is', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab."\\;,= :[]'.split('')) }), (host) => {
        const [, forwarded = ''] = withForwarded([], { address: '192.0.2.1', secure: true, host })
        const quoted = /^for=192\.0\.2\.1;proto=https;host=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"(?:[^"\\]|\\.)*")$/
        assert.match(forwarded, quoted)
      }),
    )
  })
})
