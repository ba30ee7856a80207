import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ReplyGuard } from '../../../src/mapping/redis/reply-guard.ts'

type Value = string | number | null | readonly Value[]

function encode(value: Value): string {
  if (value === null) return '$-1\r\n'
  if (typeof value === 'number') return `:${value}\r\n`
  if (typeof value === 'string') return `$${Buffer.byteLength(value)}\r\n${value}\r\n`
  return `*${value.length}\r\n${value.map(encode).join('')}`
}

const { value: values } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.integer(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
  ),
}))

function accepts(limit: number, bytes: Buffer, cuts: readonly number[] = []): boolean {
  const guard = new ReplyGuard(limit)
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  let from = 0
  for (const end of [...ends, bytes.length]) {
    if (!guard.accept(bytes.subarray(from, end))) return false
    from = end
  }
  return true
}

test('replies within the limit pass, however they are cut and however many there are', () => {
  fc.assert(
    fc.property(fc.array(values, { minLength: 1, maxLength: 6 }), fc.array(fc.nat(), { maxLength: 10 }), (replies, cuts) => {
      const encoded = replies.map((reply) => Buffer.from(encode(reply)))
      const largest = Math.max(...encoded.map((reply) => reply.length))
      assert.equal(accepts(largest, Buffer.concat(encoded), cuts), true)
    }),
  )
})

test('a reply one byte over the limit does not, whatever comes before it', () => {
  fc.assert(
    fc.property(values, fc.array(fc.nat(), { maxLength: 10 }), (reply, cuts) => {
      const encoded = Buffer.from(encode(reply))
      fc.pre(encoded.length > 5)
      assert.equal(accepts(encoded.length - 1, Buffer.concat([Buffer.from('+OK\r\n'), encoded]), cuts), false)
    }),
  )
})

test('a string is judged by the length it announces', () => {
  assert.equal(accepts(1000, Buffer.from('$994\r\n')), false)
  assert.equal(accepts(1000, Buffer.from('$991\r\n')), true)
  assert.equal(accepts(1000, Buffer.from('$99999999999999999999999999\r\n')), false)
})

test('an array is judged by the number of values it announces', () => {
  assert.equal(accepts(1000, Buffer.from('*1000000000\r\n')), false)
  assert.equal(accepts(1000, Buffer.from('*2\r\n*900\r\n')), false)
})

test('a line that never ends is cut off', () => {
  assert.equal(accepts(100, Buffer.from(`+${'x'.repeat(99)}`)), true)
  assert.equal(accepts(100, Buffer.from(`+${'x'.repeat(100)}`)), false)
})

test('any bytes at all are judged the same however they are cut', () => {
  const bytes = fc.array(fc.constantFrom('$', '*', '+', ':', '-', '1', '9', 'x', '\r', '\n', '\r\n'), { maxLength: 200 })
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(), { maxLength: 10 }), (pieces, cuts) => {
      const all = Buffer.from(pieces.join(''))
      assert.equal(accepts(64, all, cuts), accepts(64, all))
    }),
  )
})
