import { deepEqual, equal, notEqual } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { PROXY_HEADER } from '../../src/limits.ts'
import { SIGNATURE, readProxyHeader, type Endpoints, type ProxyHeader } from '../../src/listener/proxy-header.ts'

const FOUR: Endpoints = { clientAddress: '192.0.2.1', clientPort: 4711, localAddress: '198.51.100.7', localPort: 993 }
const SIX: Endpoints = { clientAddress: '2001:db8::1', clientPort: 65_535, localAddress: '2001:db8::2', localPort: 0 }

/** A header of version 2 from its parts. */
function binary(parts: { command?: number; family: number; body: readonly number[]; length?: number }): Buffer {
  const { command = 0x21, family, body, length = body.length } = parts
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, length >> 8, length & 0xff]), Buffer.from(body)])
}

const four = [192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x67, 0x03, 0xe1]
const documentation = (last: number) => [0x20, 0x01, 0x0d, 0xb8, ...Array<number>(11).fill(0), last]
const six = [...documentation(1), ...documentation(2), 0xff, 0xff, 0, 0]
const mapped = (last: number) => [...Array<number>(10).fill(0), 0xff, 0xff, 192, 0, 2, last]
const tlv = [0x05, 0, 3, 1, 2, 3]

const ANNOUNCING: readonly (readonly [string, Buffer, Endpoints])[] = [
  ['version 1, IPv4', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 4711 993\r\n'), FOUR],
  ['version 1, IPv6', Buffer.from('PROXY TCP6 2001:db8::1 2001:DB8:0::2 65535 0\r\n'), SIX],
  ['version 1, IPv4-mapped', Buffer.from('PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 4711 993\r\n'), FOUR],
  ['version 2, IPv4', binary({ family: 0x11, body: four }), FOUR],
  ['version 2, IPv4 with TLVs', binary({ family: 0x11, body: [...four, ...tlv] }), FOUR],
  ['version 2, IPv6', binary({ family: 0x21, body: six }), SIX],
  [
    'version 2, IPv4-mapped',
    binary({ family: 0x21, body: [...mapped(1), ...mapped(2), 0, 1, 0, 2] }),
    { clientAddress: '192.0.2.1', clientPort: 1, localAddress: '192.0.2.2', localPort: 2 },
  ],
]

const ANONYMOUS: readonly (readonly [string, Buffer])[] = [
  ['version 1, UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n')],
  ['version 1, UNKNOWN with whatever follows', Buffer.from('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n')],
  ['version 2, LOCAL', binary({ command: 0x20, family: 0, body: [] })],
  ['version 2, LOCAL with addresses', binary({ command: 0x20, family: 0x11, body: four })],
  ['version 2, LOCAL of a family that does not exist', binary({ command: 0x20, family: 0x99, body: [1] })],
  ['version 2, unspecified family', binary({ family: 0, body: tlv })],
  ['version 2, a UNIX socket', binary({ family: 0x31, body: Array<number>(216).fill(65) })],
]

const WELL_FORMED = [...ANNOUNCING, ...ANONYMOUS.map(([title, bytes]) => [title, bytes, undefined] as const)]

const MALFORMED: readonly (readonly [string, Buffer])[] = [
  ['a bare LF', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 4711 993\n')],
  ['a CR without LF', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 4711 993\r.')],
  ['two spaces', Buffer.from('PROXY TCP4  192.0.2.1 198.51.100.7 4711 993\r\n')],
  ['a space at the end', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 4711 993 \r\n')],
  ['a port too high', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 65536 993\r\n')],
  ['a port with a leading zero', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 04711 993\r\n')],
  ['a negative port', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 -1 993\r\n')],
  ['no ports', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7\r\n')],
  ['an octal address', Buffer.from('PROXY TCP4 0192.0.2.1 198.51.100.7 4711 993\r\n')],
  ['a name for an address', Buffer.from('PROXY TCP4 localhost 198.51.100.7 4711 993\r\n')],
  ['IPv6 announced as IPv4', Buffer.from('PROXY TCP4 2001:db8::1 198.51.100.7 4711 993\r\n')],
  ['IPv4 announced as IPv6', Buffer.from('PROXY TCP6 192.0.2.1 198.51.100.7 4711 993\r\n')],
  ['a zone', Buffer.from('PROXY TCP6 fe80::1%eth0 fe80::2 4711 993\r\n')],
  ['a protocol unheard of', Buffer.from('PROXY UDP4 192.0.2.1 198.51.100.7 4711 993\r\n')],
  ['UNKNOWN run together', Buffer.from('PROXY UNKNOWNS\r\n')],
  ['a NUL', Buffer.from('PROXY TCP4 192.0.2.1\0')],
  ['a byte above ASCII', Buffer.from('PROXY TCP4 192.0.2.1\xff', 'latin1')],
  ['a line of 108 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
  ['a line without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(93)}`)],
  ['version 1 in binary', binary({ command: 0x11, family: 0x11, body: four })],
  ['a command that does not exist', binary({ command: 0x22, family: 0x11, body: four })],
  ['UDP', binary({ family: 0x12, body: four })],
  ['a family that does not exist', binary({ family: 0x41, body: four })],
  ['addresses cut off', binary({ family: 0x11, body: four.slice(1) })],
  ['IPv6 addresses cut off', binary({ family: 0x21, body: six.slice(1) })],
  ['too long by one', binary({ family: 0, body: [], length: PROXY_HEADER - 15 })],
]

/** What comes of it when it comes in these pieces: the reading that ended it, and after how many bytes. */
function inPieces(bytes: Buffer, cuts: readonly number[]): { reading: ProxyHeader; after: number } {
  for (const end of [...cuts, bytes.length]) {
    const reading = readProxyHeader(bytes.subarray(0, end))
    if (reading.kind !== 'more') return { reading, after: end }
  }
  return { reading: { kind: 'more' }, after: bytes.length }
}

const everyByte = (bytes: Buffer) => Array.from(bytes, (_, index) => index)

describe('a PROXY header', () => {
  for (const [title, bytes, endpoints] of WELL_FORMED) {
    it(`is read, whatever follows and however it is cut: ${title}`, () => {
      const expected = { kind: 'header', length: bytes.length, endpoints }
      const followed = Buffer.concat([bytes, Buffer.from('\x16\x03\x01PROXY \r\n')])
      deepEqual(readProxyHeader(bytes), expected)
      deepEqual(readProxyHeader(followed), expected)
      deepEqual(inPieces(followed, everyByte(followed)), { reading: expected, after: bytes.length })
      for (let cut = 0; cut < followed.length; cut++) deepEqual(inPieces(followed, [cut]).reading, expected, `cut at ${cut}`)
    })
  }

  for (const [title, bytes] of MALFORMED) {
    it(`is malformed with ${title}, however it is cut`, () => {
      equal(readProxyHeader(bytes).kind, 'malformed')
      equal(inPieces(bytes, everyByte(bytes)).reading.kind, 'malformed')
      for (let cut = 0; cut < bytes.length; cut++) equal(inPieces(bytes, [cut]).reading.kind, 'malformed', `cut at ${cut}`)
    })
  }

  it('may have 107 bytes as a line, and as many as the limit says in binary', () => {
    const line = Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`)
    deepEqual(readProxyHeader(line), { kind: 'header', length: 107, endpoints: undefined })
    const body = Array<number>(PROXY_HEADER - 16).fill(0)
    deepEqual(readProxyHeader(binary({ family: 0, body })), { kind: 'header', length: PROXY_HEADER, endpoints: undefined })
  })

  it('is refused for its length before its bytes have come', () => {
    equal(readProxyHeader(binary({ family: 0x11, body: [], length: 65_535 })).kind, 'malformed')
  })

  it('is not begun by what clients say', () => {
    for (const text of ['a1 LOGIN x y\r\n', '\x16\x03\x01\x02', 'PROXX', 'proxy TCP4', '\r\n\r\n\0\r\nQUIT\r', 'EHLO x\r\n', 'P\r\n', '\r\r']) {
      equal(readProxyHeader(Buffer.from(text, 'latin1')).kind, 'none', JSON.stringify(text))
    }
  })

  it('is one of the four for any bytes, the same in pieces as whole, and never reads beyond its end', () => {
    const start = fc.constantFrom(...WELL_FORMED.map(([, bytes]) => bytes), ...MALFORMED.map(([, bytes]) => bytes), Buffer.alloc(0))
    const mutation = fc.record({ at: fc.nat(250), byte: fc.nat(255) })
    fc.assert(
      fc.property(start, fc.array(mutation, { maxLength: 3 }), fc.uint8Array({ maxLength: 30 }), fc.array(fc.nat(280)), (base, mutations, tail, cuts) => {
        const bytes = Buffer.concat([base, tail])
        for (const { at, byte } of mutations) if (at < bytes.length) bytes[at] = byte
        const whole = readProxyHeader(bytes)
        const ordered = cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b)
        const { reading } = inPieces(bytes, ordered)
        // A mistake is told as soon as it is seen, and not always the same one first.
        equal(reading.kind, whole.kind)
        if (whole.kind !== 'header') return
        deepEqual(reading, whole)
        deepEqual(readProxyHeader(bytes.subarray(0, whole.length)), whole)
        notEqual(readProxyHeader(bytes.subarray(0, whole.length - 1)).kind, 'header')
      }),
      { numRuns: 3_000 },
    )
  })
})
