import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { LineReader } from '../../src/protocol/line-reader.ts'
import { cutAt } from './recorder.ts'

/** Reads all lines of what is fed in pieces whose memory is reused afterwards. */
function lines(pieces: readonly Buffer[]): { lines: string[]; rest: string } {
  const reader = new LineReader()
  const found: string[] = []
  for (const piece of pieces) {
    const chunk = Buffer.from(piece)
    reader.feed(chunk)
    for (let end = reader.lineEnd(); end >= 0; end = reader.lineEnd()) {
      found.push(reader.view(0, reader.textEnd(0, end)).toString('latin1'))
      reader.consume(end)
    }
    reader.settle()
    chunk.fill(0x0a)
  }
  return { lines: found, rest: reader.takeAll().toString('latin1') }
}

describe('the line reader', () => {
  test('a line ends with CRLF or a bare LF, a bare CR is part of it', () => {
    assert.deepEqual(lines([Buffer.from('a\r\nb\nc\rd\r\n\n\r\ne\r')]), { lines: ['a', 'b', 'c\rd', '', ''], rest: 'e\r' })
  })

  test('however the bytes are cut, the lines are the same', () => {
    const byte = fc.constantFrom(0x0a, 0x0d, 0x61, 0x62, 0x00, 0xff)
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 3_000 }), fc.array(fc.nat({ max: 3_000 }), { maxLength: 40 }), (bytes, places) => {
        const all = Buffer.from(bytes)
        const { lines: found, rest } = lines(cutAt(all, places))
        const text = all.toString('latin1')
        const parts = text.split('\n')
        assert.equal(rest, parts.pop())
        assert.deepEqual(found, parts.map((part) => part.replace(/\r$/, '')))
      }),
      { numRuns: 300 },
    )
  })

  test('searches behind an offset, and again after consuming', () => {
    const reader = new LineReader()
    reader.feed(Buffer.from('ab\ncd'))
    assert.equal(reader.lineEnd(3), -1)
    reader.feed(Buffer.from('ef\ngh\n'))
    assert.equal(reader.lineEnd(3), 8)
    reader.consume(8)
    assert.equal(reader.lineEnd(), 3)
    assert.equal(reader.length, 3)
    assert.equal(reader.at(0), 0x67)
    assert.equal(reader.at(3), undefined)
    reader.drop()
    assert.equal(reader.length, 0)
    assert.equal(reader.lineEnd(), -1)
  })

  test('a whole chunk is read where it lies, without a copy', () => {
    const reader = new LineReader()
    const chunk = Buffer.from('line\r\n')
    reader.feed(chunk)
    assert.equal(reader.view(0, 4).buffer, chunk.buffer)
  })
})
