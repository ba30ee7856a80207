import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  decodeFrame,
  decodePayload,
  encodeFrame,
  encodePayload,
  errorFromWire,
  errorToWire,
  FRAME_HEADER,
  FRAME_VERSION,
} from '../../src/actor/frame.ts'
import type { Frame, FrameKind } from '../../src/actor/frame.ts'
import { SignalboxError } from '../../src/errors.ts'
import { FRAME } from '../../src/limits.ts'

const KINDS: readonly FrameKind[] = ['tell', 'ask', 'answer', 'failure']
const frame: Frame = { kind: 'ask', target: 0x0102, correlation: 0x0304_0506, payload: { type: 'ping' } }

test('the header is version, kind, target and correlation in eight bytes, big endian', () => {
  const bytes = encodeFrame(frame)
  assert.equal(FRAME_HEADER, 8)
  assert.equal(FRAME_VERSION, 1)
  assert.deepEqual([...bytes.subarray(0, 8)], [1, 2, 1, 2, 3, 4, 5, 6])
  assert.deepEqual(decodePayload(bytes.subarray(8)), { type: 'ping' })
})

test('what is encoded is decoded, from a buffer of its own or in the middle of another', () => {
  const payload = fc.jsonValue({ noUnicodeString: false }).filter((value) => !JSON.stringify(value).includes('__proto__') && !hasNegativeZero(value))
  fc.assert(
    fc.property(fc.constantFrom(...KINDS), fc.nat(0xffff), fc.nat(0xffff_ffff), payload, (kind, target, correlation, content) => {
      const bytes = encodeFrame({ kind, target, correlation, payload: content })
      const within = new Uint8Array(bytes.length + 7)
      within.set(bytes, 3)
      for (const given of [bytes, within.subarray(3, 3 + bytes.length)]) {
        assert.deepEqual(decodeFrame(given), { kind, target, correlation, payload: content })
      }
    }),
  )
})

test('the largest frame is taken; one byte more is neither sent nor received', () => {
  // bin 32: five bytes before the content.
  const content = Buffer.alloc(FRAME - FRAME_HEADER - 5)
  const largest = encodeFrame({ ...frame, payload: content })
  assert.equal(largest.length, FRAME)
  assert.equal((decodeFrame(largest).payload as Buffer).length, content.length)
  assert.throws(() => encodeFrame({ ...frame, payload: Buffer.alloc(content.length + 1) }), { code: 'FRAME_INVALID' })
  assert.throws(() => decodeFrame(Buffer.concat([largest, Buffer.alloc(1)])), { code: 'FRAME_INVALID' })
})

test('a frame that is too short, of another version, of an unknown kind or with something behind it is invalid', () => {
  const good = encodeFrame(frame)
  for (let length = 0; length < good.length; length++) {
    assert.throws(() => decodeFrame(good.subarray(0, length)), { code: 'FRAME_INVALID' }, `cut at ${length}`)
  }
  const with0 = (index: number, value: number): Buffer => {
    const bytes = Buffer.from(good)
    bytes[index] = value
    return bytes
  }
  for (const version of [0, 2, 255]) assert.throws(() => decodeFrame(with0(0, version)), { code: 'FRAME_INVALID' })
  for (const kind of [0, 5, 255]) assert.throws(() => decodeFrame(with0(1, kind)), { code: 'FRAME_INVALID' })
  assert.throws(() => decodeFrame(Buffer.concat([good, Buffer.from([0xc0])])), { code: 'FRAME_INVALID' })
})

test('garbage is FRAME_INVALID or a frame, never another error, and harms no frame after it', () => {
  const mutated = fc.tuple(fc.nat(), fc.nat(255), fc.uint8Array({ maxLength: 8 })).map(([at, byte, tail]) => {
    const bytes = Buffer.concat([encodeFrame({ ...frame, payload: { type: 'x', a: [1, 'two', { three: Buffer.from('3') }] } }), tail])
    bytes[at % bytes.length] = byte
    return new Uint8Array(bytes)
  })
  const headed = fc.uint8Array({ maxLength: 200 }).map((tail) => new Uint8Array([1, 1, 0, 1, 0, 0, 0, 0, ...tail]))
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), headed, mutated), (bytes) => {
      try {
        decodeFrame(bytes)
      } catch (error) {
        assert.ok(error instanceof SignalboxError && error.code === 'FRAME_INVALID', String(error))
      }
      assert.deepEqual(decodeFrame(encodeFrame(frame)), frame)
    }),
    { numRuns: 2_000 },
  )
})

test('a few bytes that promise arrays without end, or nest without end, are refused before they cost memory', () => {
  const header = encodeFrame({ ...frame, payload: null }).subarray(0, 8)
  const promise = Buffer.from('dd01ffffff', 'hex')
  for (const payload of [promise, Buffer.concat([promise, promise, promise]), Buffer.alloc(4_000_000, 0x91)]) {
    const before = process.memoryUsage().rss
    assert.throws(() => decodeFrame(Buffer.concat([header, payload])), { code: 'FRAME_INVALID' })
    assert.ok(process.memoryUsage().rss - before < 128 * 1024 * 1024)
  }
})

test('names of prototype properties are keys like any other and change no prototype', () => {
  const payload = { type: 'constructor', toString: 1, hasOwnProperty: 2, constructor: { prototype: { polluted: true } } }
  assert.deepEqual(decodePayload(encodePayload(payload)), payload)
  const evil: unknown = JSON.parse('{"__proto__": {"polluted": true}, "type": "x"}')
  const decoded = decodePayload(encodePayload(evil)) as Record<string, unknown>
  assert.equal(decoded['polluted'], undefined)
  assert.equal(Object.getPrototypeOf(decoded), Object.prototype)
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
})

test('what no frame can carry is refused when it is sent', () => {
  for (const payload of [{ big: 2n ** 70n }, { symbol: Symbol('no') }]) {
    assert.throws(() => encodePayload(payload), { code: 'FRAME_INVALID' })
    assert.throws(() => encodeFrame({ ...frame, payload }), { code: 'FRAME_INVALID' })
  }
})

test('an error crosses the border with its code and its words, and without its cause', () => {
  const secret = new Error('password=hunter2')
  const wire = errorToWire(new SignalboxError('SOURCE_TIMEOUT', 'too slow', { cause: secret }))
  assert.ok(!encodePayload(wire).includes('hunter2'))
  const back = errorFromWire(decodePayload(encodePayload(wire)))
  assert.deepEqual([back.code, back.side, back.message, back.cause], ['SOURCE_TIMEOUT', 'source', 'too slow', undefined])
  assert.equal(errorFromWire(errorToWire(new TypeError('a defect'))).code, 'INTERNAL')
})

test('a failure in an unknown form is FRAME_INVALID, whatever it is', () => {
  for (const payload of [undefined, null, 1, 'KICKED', [], { code: 'NO_SUCH_CODE', message: 'x' }, { code: 'toString', message: 'x' },
    { code: '__proto__', message: 'x' }, { code: 'KICKED' }, { code: 'KICKED', message: 1 }]) {
    assert.equal(errorFromWire(payload).code, 'FRAME_INVALID')
  }
})

/** JSON has it, integers of msgpack don't. */
function hasNegativeZero(value: unknown): boolean {
  if (Object.is(value, -0)) return true
  return typeof value === 'object' && value !== null && Object.values(value).some(hasNegativeZero)
}
