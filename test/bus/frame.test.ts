/** Frames survive the way there and back, and nothing else passes for one. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { BUS_KINDS, decodeBusFrame, encodeBusFrame } from '../../src/bus/frame.ts'
import type { OutgoingFrame } from '../../src/bus/frame.ts'
import { readPayload } from '../../src/bus/payload.ts'
import type { BusPayload } from '../../src/bus/payload.ts'
import { SignalboxError } from '../../src/errors.ts'
import { BUS_TEXT, FRAME, IDENTIFIER, IDENTIFIERS_PER_FRAME } from '../../src/limits.ts'

const CHANNEL = 'signalbox:x:frames'
const SECRET = 'a secret of sixteen or more'
const FACTS = { digest: 'd', version: '1', workers: 2 }

const PAYLOADS: readonly BusPayload[] = [
  { kind: 'hello', question: 1, facts: FACTS, destinations: ['a'] },
  { kind: 'welcome', question: 2 ** 47, facts: FACTS, destinations: [], holds: [{ identifier: 'c', id: 'i', ms: 120_000 }], sequence: 3 },
  { kind: 'heartbeat', facts: FACTS },
  { kind: 'bye' },
  { kind: 'invalidate', identifiers: ['carol@example.com', '__proto__', 'ü'], reread: true },
  { kind: 'invalidate-all', reread: false },
  { kind: 'kick', identifier: 'x'.repeat(IDENTIFIER), except: 'stalwart' },
  { kind: 'hold', identifier: 'c', id: 'i', ms: 0 },
  { kind: 'release', identifier: 'c', id: 'x'.repeat(BUS_TEXT) },
  { kind: 'query', question: 5, what: 'stats' },
  { kind: 'answer', question: 5, stats: { sessions: 7, name: 'b' } },
  { kind: 'state', destination: 'old', state: 'drain', at: 1_700_000_000_000, over: 30_000 },
  { kind: 'drain', destination: 'old', over: 3_600_000 },
  { kind: 'acknowledge', epoch: 1_700_000_000_000, sequence: 2 ** 40, count: 3 },
]

function outgoing({ kind, ...payload }: BusPayload): OutgoingFrame {
  return { kind, instance: 'mx-a', epoch: 1_700_000_000_000, sequence: 2 ** 40 + 1, payload }
}

function refused(bytes: Buffer, secret?: string, channel = CHANNEL): void {
  assert.throws(() => decodeBusFrame(bytes, channel, secret), { code: 'FRAME_INVALID' })
}

describe('frames of the bus', () => {
  test('there is an example of every kind', () => {
    assert.deepEqual(PAYLOADS.map(({ kind }) => kind).sort(), Object.keys(BUS_KINDS).sort())
  })

  for (const payload of PAYLOADS) {
    test(`${payload.kind}: there and back, with and without a secret`, () => {
      for (const secret of [undefined, SECRET]) {
        const { header, body } = decodeBusFrame(encodeBusFrame(outgoing(payload), CHANNEL, secret), CHANNEL, secret)
        assert.deepEqual(header, { version: 1, kind: payload.kind, instance: 'mx-a', epoch: 1_700_000_000_000, sequence: 2 ** 40 + 1 })
        assert.ok(body.ok)
        assert.deepEqual(readPayload(payload.kind, body.payload), payload)
      }
    })
  }

  test('with a secret no byte can be changed, no channel exchanged, nothing cut or added', () => {
    const bytes = encodeBusFrame(outgoing({ kind: 'kick', identifier: 'carol' }), CHANNEL, SECRET)
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      refused(changed, SECRET)
    }
    refused(bytes, SECRET, 'signalbox:y:frames')
    refused(bytes, 'another secret of this length')
    refused(bytes, undefined)
    refused(bytes.subarray(0, -1), SECRET)
    refused(Buffer.concat([bytes, Buffer.alloc(1)]), SECRET)
    refused(encodeBusFrame(outgoing({ kind: 'bye' }), CHANNEL, undefined), SECRET)
  })

  test('arbitrary bytes, and frames with arbitrary bytes changed, are read or refused, never more', () => {
    const good = PAYLOADS.map((payload) => encodeBusFrame(outgoing(payload), CHANNEL, undefined))
    const changed = fc
      .tuple(fc.constantFrom(...good), fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }), fc.nat(200))
      .map(([bytes, changes, length]) => {
        const copy = Buffer.from(bytes.subarray(0, Math.max(length, 20)))
        for (const [at, byte] of changes) if (at < copy.length) copy[at] = byte
        return copy
      })
    const anything = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
    fc.assert(
      fc.property(fc.oneof(changed, anything), (bytes) => {
        try {
          const { header, body } = decodeBusFrame(bytes, CHANNEL, undefined)
          if (header.kind !== undefined && body.ok) readPayload(header.kind, body.payload)
        } catch (error) {
          assert.ok(error instanceof SignalboxError && error.code === 'FRAME_INVALID', String(error))
        }
      }),
      { numRuns: 5_000 },
    )
  })

  test('the largest change fits into a frame, with a secret as well; what does not is refused before it is sent', () => {
    const identifiers = Array.from({ length: IDENTIFIERS_PER_FRAME }, (_, index) => String(index).padStart(IDENTIFIER, 'x'))
    const bytes = encodeBusFrame(outgoing({ kind: 'invalidate', identifiers, reread: false }), CHANNEL, SECRET)
    assert.ok(bytes.length <= FRAME)
    assert.ok(decodeBusFrame(bytes, CHANNEL, SECRET).body.ok)
    const huge = { ...outgoing({ kind: 'bye' }), payload: { text: 'x'.repeat(FRAME) } }
    assert.throws(() => encodeBusFrame(huge, CHANNEL, undefined), { code: 'FRAME_INVALID' })
    refused(Buffer.alloc(FRAME + 1))
  })

  test('a payload nested without end is refused, not followed', () => {
    const frame = encodeBusFrame(outgoing({ kind: 'bye' }), CHANNEL, undefined)
    const { body } = decodeBusFrame(Buffer.concat([frame.subarray(0, 20), Buffer.alloc(4_000_000, 0x91)]), CHANNEL, undefined)
    assert.equal(body.ok, false)
  })
})

describe('payloads', () => {
  const bad: readonly (readonly [keyof typeof BUS_KINDS, unknown])[] = [
    ['bye', null],
    ['bye', []],
    ['hello', { question: -1, facts: FACTS, destinations: [] }],
    ['hello', { question: 1.5, facts: FACTS, destinations: [] }],
    ['hello', { question: 1, facts: null, destinations: [] }],
    ['hello', { question: 1, facts: FACTS, destinations: ['x'.repeat(BUS_TEXT + 1)] }],
    ['welcome', { question: 1, facts: FACTS, destinations: [], holds: [{ identifier: 'c', id: 'i', ms: 120_001 }], sequence: 0 }],
    ['invalidate', { identifiers: ['x'.repeat(IDENTIFIER + 1)] }],
    ['invalidate', { identifiers: ['ü'.repeat(IDENTIFIER / 2 + 1)] }],
    ['invalidate', { identifiers: [''] }],
    ['invalidate', { identifiers: Array.from({ length: IDENTIFIERS_PER_FRAME + 1 }, () => 'c') }],
    ['kick', { identifier: 7 }],
    ['release', { identifier: 'c', id: 'x'.repeat(BUS_TEXT + 1) }],
    ['query', { question: 1, what: 'secrets' }],
    ['answer', { question: 1, stats: null }],
    ['acknowledge', { epoch: 1, sequence: 2 ** 60, count: 0 }],
  ]
  for (const [index, [kind, payload]] of bad.entries()) {
    test(`${kind}, number ${index}: refused, naming the field`, () => {
      assert.throws(() => readPayload(kind, payload), { code: 'FRAME_INVALID', message: new RegExp(`of kind ${kind} has a bad `) })
    })
  }

  test('statistics keep numbers and short texts, a few hundred of them, under any name', () => {
    const stats = Object.fromEntries([['__proto__', 1], ['text', 'x'], ['long', 'x'.repeat(BUS_TEXT + 1)], ['deep', {}]])
    const read = readPayload('answer', { question: 1, stats })
    assert.ok(read.kind === 'answer' && 'stats' in read)
    assert.deepEqual(Object.entries(read.stats), [['__proto__', 1], ['text', 'x']])
    const many = Object.fromEntries(Array.from({ length: BUS_TEXT + 1 }, (_, index) => [`n${index}`, index]))
    const bounded = readPayload('answer', { question: 1, stats: many })
    assert.ok(bounded.kind === 'answer' && 'stats' in bounded)
    assert.equal(Object.keys(bounded.stats).length, BUS_TEXT)
  })
})
