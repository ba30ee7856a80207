import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { ClientAnnouncement } from '../../src/protocol/protocol.ts'
import { xclientAttributes, xclientText, xtext } from '../../src/protocol/xclient.ts'

const CLIENT: ClientAnnouncement = {
  clientAddress: '192.0.2.1',
  clientPort: 4711,
  localAddress: '198.51.100.7',
  localPort: 465,
  session: '1-abc-2',
  ttl: 6,
  clientTls: 'TLSv1.3',
}
const SIX = { ...CLIENT, clientAddress: '2001:db8::1', localAddress: '2001:db8::2' }

/** RFC 3461 §4, read backwards. */
function decoded(text: string): string {
  const bytes: number[] = []
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '+') {
      bytes.push(Number.parseInt(text.slice(i + 1, i + 3), 16))
      i += 2
    } else bytes.push(text.charCodeAt(i))
  }
  return Buffer.from(bytes).toString()
}

describe('XCLIENT attributes', () => {
  it('say who the client is, in a fixed order', () => {
    equal(
      xclientText(xclientAttributes(CLIENT, {}, { smtp: false })),
      'ADDR=192.0.2.1 PORT=4711 DESTADDR=198.51.100.7 DESTPORT=465 SESSION=1-abc-2 TTL=6 CLIENT-TRANSPORT=TLS',
    )
  })

  it('say that the client has no TLS', () => {
    const attributes = xclientAttributes({ ...CLIENT, clientTls: undefined }, {}, { smtp: false })
    deepEqual(attributes.at(-1), ['CLIENT-TRANSPORT', 'insecure'])
  })

  it('mark IPv6 addresses in SMTP only', () => {
    const addresses = (smtp: boolean) =>
      xclientAttributes(SIX, {}, { smtp }).filter(([name]) => name.endsWith('ADDR')).map(([, value]) => value)
    deepEqual(addresses(true), ['IPV6:2001:db8::1', 'IPV6:2001:db8::2'])
    deepEqual(addresses(false), ['2001:db8::1', '2001:db8::2'])
  })

  it('name the greeting and its protocol in SMTP only, and never a login', () => {
    const facts = { heloName: 'laptop.example', esmtp: true }
    deepEqual(xclientAttributes(CLIENT, facts, { smtp: true }).slice(-2), [['HELO', 'laptop.example'], ['PROTO', 'ESMTP']])
    deepEqual(xclientAttributes(CLIENT, { ...facts, esmtp: false }, { smtp: true }).at(-1), ['PROTO', 'SMTP'])
    const names = (smtp: boolean) => xclientAttributes(CLIENT, facts, { smtp }).map<string>(([name]) => name)
    deepEqual(names(false).filter((name) => ['HELO', 'PROTO', 'LOGIN'].includes(name)), [])
    deepEqual(names(true).filter((name) => name === 'LOGIN'), [])
  })

  it('leave out an address that is none, with its port; in SMTP they say that it is not known', () => {
    const attributes = (smtp: boolean) => xclientAttributes({ ...CLIENT, clientAddress: 'unknown' }, {}, { smtp })
    const names = attributes(false).map(([name]) => name)
    ok(!names.includes('ADDR') && !names.includes('PORT') && names.includes('DESTADDR'))
    deepEqual(attributes(true).slice(0, 2), [['ADDR', '[UNAVAILABLE]'], ['PORT', '[UNAVAILABLE]']])
  })

  it('leave no SMTP server a name of the proxy to go by', () => {
    const named = (smtp: boolean) => xclientAttributes(CLIENT, {}, { smtp }).filter(([name]) => name.endsWith('NAME'))
    deepEqual(named(true), [['NAME', '[UNAVAILABLE]'], ['REVERSE_NAME', '[UNAVAILABLE]']])
    deepEqual(named(false), [])
  })

  it('leave out a greeting that would not fit its command line', () => {
    const names = (heloName: string) => xclientAttributes(CLIENT, { heloName, esmtp: true }, { smtp: true }).map(([name]) => name)
    ok(names('x'.repeat(255)).includes('HELO'))
    ok(!names('x'.repeat(256)).includes('HELO'))
    ok(!names('ö'.repeat(43)).includes('HELO'))
  })

  it('are one attribute each, whatever the client called itself', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.constantFrom('x\r\nMAIL FROM:<>', 'x LOGIN=root', 'a"b\\c', 'x\0y', '+20', 'a=b', ' ', '\u00a0'),
    )
    fc.assert(
      fc.property(hostile, (heloName) => {
        const attributes = xclientAttributes(CLIENT, { heloName, esmtp: true }, { smtp: true })
        const text = xclientText(attributes)
        match(text, /^[!-~]+( [!-~]+)*$/)
        deepEqual(text.split(' ').map((attribute) => attribute.split('=')), attributes.map(([name, value]) => [name, value]))
        ok(attributes.every(([, value]) => value.length <= 255))
      }),
    )
  })
})

describe('xtext', () => {
  it('can be read back', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (value) => equal(decoded(xtext(value)), value)))
  })

  it('encodes what is not plain', () => {
    equal(xtext('a+b=c d\r\n\0ö~!'), 'a+2Bb+3Dc+20d+0D+0A+00+C3+B6~!')
  })
})
