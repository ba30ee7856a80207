import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { normalizeIdentifier } from '../../../src/identity/identifier.ts'
import { IDENTIFIER, MAPPING_LINE, MAPPING_MISTAKES } from '../../../src/limits.ts'
import { DestinationNames } from '../../../src/mapping/file/destination-names.ts'
import { Image } from '../../../src/mapping/file/image.ts'
import { Parser } from '../../../src/mapping/file/parser.ts'
import type { Normalize } from '../../../src/mapping/file/parser.ts'

const NAMES = ['legacy', 'stalwart', 'Upper', 'größe']

interface Parsed {
  readonly lines: string[]
  readonly parser: Parser
}

function parse(text: string | Uint8Array, options: { normalize?: Normalize; pieces?: number[] } = {}): Parsed {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  const image = new Image(0)
  const parser = new Parser(image, new DestinationNames(NAMES), { normalize: options.normalize ?? 'none', seed: 1 })
  let at = 0
  for (const size of options.pieces ?? []) {
    parser.push(bytes.subarray(at, at + size))
    at += size
  }
  parser.push(bytes.subarray(at))
  parser.end()
  const lines = Buffer.from(image.bytes.subarray(0, image.length)).toString().split('\n')
  assert.equal(lines.pop(), '', 'every line in the image ends with a line feed')
  assert.equal(parser.notes.count, lines.length)
  return { lines, parser }
}

function mistakes(text: string | Uint8Array, normalize: Normalize = 'none'): string[] {
  return parse(text, { normalize }).parser.mistakes.mistakes.map(({ line, message }) => `${line}: ${message}`)
}

describe('the parser of mapping files', () => {
  it('takes tabs and spaces, many of them, around and between the two fields', () => {
    const { lines, parser } = parse('a\tlegacy\nb legacy\n  c \t  stalwart  \n\t\td\t\tlegacy\t\n')
    assert.deepEqual(lines, ['a\tlegacy', 'b\tlegacy', 'c\tstalwart', 'd\tlegacy'])
    assert.equal(parser.mistakes.total, 0)
    assert.equal(parser.furtherFields, 0)
  })

  it('passes over blank lines and comments and counts the comments', () => {
    const { lines, parser } = parse('# one\n\n   \t\n  # two\na legacy\n#\n\n')
    assert.deepEqual(lines, ['a\tlegacy'])
    assert.equal(parser.comments, 3)
  })

  it('takes a hash that is not the first character for part of a name', () => {
    assert.deepEqual(parse('a#b legacy # words behind\n').lines, ['a#b\tlegacy'])
  })

  it('accepts a byte order mark, CRLF, and a last line without an end', () => {
    assert.deepEqual(parse('\ufeffa\tlegacy\r\nb\tlegacy\r\n\r\nc legacy').lines, ['a\tlegacy', 'b\tlegacy', 'c\tlegacy'])
    assert.deepEqual(parse('\ufeff# comment\na legacy\r').lines, ['a\tlegacy'])
  })

  it('takes an empty file for one without mappings', () => {
    for (const text of ['', '\n', '\ufeff', '# only a comment']) {
      const { lines, parser } = parse(text)
      assert.deepEqual(lines, [])
      assert.equal(parser.mistakes.total, 0)
    }
  })

  it('ignores further fields and counts the lines that have them', () => {
    const { lines, parser } = parse('a legacy more and more\nb legacy # why\nc legacy \n')
    assert.deepEqual(lines, ['a\tlegacy', 'b\tlegacy', 'c\tlegacy'])
    assert.equal(parser.furtherFields, 2)
  })

  it('counts mappings per destination', () => {
    assert.deepEqual(parse('a legacy\nb Upper x\nc legacy\nd größe\n').parser.counts, [2, 0, 1, 1])
  })

  it('names each mistake with its line', () => {
    assert.deepEqual(mistakes('a\nb \nc legacy\n\n# d\ne nowhere\nf"g legacy\nh\u0001 legacy\ni\u007f legacy\n'), [
      '1: fewer than two fields',
      '2: fewer than two fields',
      '6: destination "nowhere" is not declared',
      '7: the name holds a control character, a space or a double quote',
      '8: the name holds a control character, a space or a double quote',
      '9: the name holds a control character, a space or a double quote',
    ])
    assert.deepEqual(mistakes('a\rb legacy\n'), ['1: the name holds a control character, a space or a double quote'])
    assert.deepEqual(mistakes('a\u0085 legacy\n'), ['1: the name holds a control character, a space or a double quote'])
    assert.deepEqual(mistakes('x legacy\n\ufeffa legacy\n').length, 1)
  })

  it('refuses bytes that are not UTF-8, wherever they stand', () => {
    const bad = Buffer.from([0xc3, 0x28])
    const overlong = Buffer.from([0xc0, 0xaf])
    const surrogate = Buffer.from([0xed, 0xa0, 0x80])
    for (const bytes of [bad, overlong, surrogate]) {
      for (const [before, behind] of [
        ['', ' legacy\n'],
        ['a ', '\n'],
        ['a legacy ', '\n'],
        ['# ', '\n'],
      ] as const) {
        assert.deepEqual(mistakes(Buffer.concat([Buffer.from(`ok legacy\n${before}`), bytes, Buffer.from(behind)])), [
          '2: not valid UTF-8',
        ])
      }
    }
  })

  it('quotes a destination but never an identifier', () => {
    const [message = ''] = mistakes('secret-account nowhere"\u0007\n')
    assert.equal(message, '1: destination "nowhere\\"\\u0007" is not declared')
    assert.ok(!JSON.stringify(mistakes('secret"account legacy\nsecret\n')).includes('secret'))
    assert.ok((mistakes(`a ${'n'.repeat(1_000)}\n`)[0] ?? '').length < 150)
  })

  it(`takes a line of ${MAPPING_LINE} bytes and refuses one more`, () => {
    const line = (length: number): string => `a legacy ${'x'.repeat(length - 9)}`
    for (const end of ['\n', '\r\n', '']) {
      assert.deepEqual(parse(`${line(MAPPING_LINE)}${end}`).lines, ['a\tlegacy'])
      assert.deepEqual(parse(`\ufeff${line(MAPPING_LINE)}${end}`).lines, ['a\tlegacy'])
      assert.deepEqual(mistakes(`${line(MAPPING_LINE + 1)}${end}`), [`1: longer than ${MAPPING_LINE} bytes`])
      assert.deepEqual(mistakes(`${line(MAPPING_LINE * 3)}${end}`), [`1: longer than ${MAPPING_LINE} bytes`])
    }
    const { lines, parser } = parse(`${line(MAPPING_LINE + 1)}\nb legacy\n`)
    assert.deepEqual(lines, ['b\tlegacy'])
    assert.equal(parser.mistakes.total, 1)
  })

  it('finds the end of a line of any length that comes in small pieces', () => {
    const text = `${'x'.repeat(MAPPING_LINE * 2)}\nb legacy\n`
    const { lines, parser } = parse(text, { pieces: new Array<number>(text.length).fill(1) })
    assert.deepEqual(lines, ['b\tlegacy'])
    assert.deepEqual(parser.mistakes.mistakes, [{ line: 1, message: `longer than ${MAPPING_LINE} bytes` }])
  })

  it(`takes an identifier of ${IDENTIFIER} bytes and refuses one more`, () => {
    assert.equal(parse(`${'x'.repeat(IDENTIFIER)} legacy\n${'ü'.repeat(IDENTIFIER / 2)} legacy\n`).lines.length, 2)
    assert.equal(mistakes(`${'x'.repeat(IDENTIFIER + 1)} legacy\n${'ü'.repeat(IDENTIFIER / 2)}x legacy\n`).length, 2)
  })

  it(`names ${MAPPING_MISTAKES} mistakes and counts the rest`, () => {
    const { parser } = parse('x\n'.repeat(MAPPING_MISTAKES))
    assert.equal(parser.mistakes.mistakes.length, MAPPING_MISTAKES)
    assert.equal(parser.mistakes.more, 0)
    const more = parse('x\n'.repeat(MAPPING_MISTAKES + 1)).parser.mistakes
    assert.equal(more.mistakes.length, MAPPING_MISTAKES)
    assert.equal(more.more, 1)
    assert.equal(more.total, MAPPING_MISTAKES + 1)
  })

  it('lower-cases identifiers, also where that takes more bytes, and leaves destinations alone', () => {
    const text = 'ALICE@Example.ORG Upper\nÄÖ legacy\nİ legacy\nȺȺȺȺ legacy\nb legacy\n'
    const { lines } = parse(text, { normalize: 'lowercase' })
    assert.deepEqual(lines, ['alice@example.org\tUpper', 'äö\tlegacy', 'i̇\tlegacy', 'ⱥⱥⱥⱥ\tlegacy', 'b\tlegacy'])
    assert.deepEqual(parse('A Upper\n').lines, ['A\tUpper'])
  })

  it('does not cut what looks like a master-user suffix', () => {
    assert.deepEqual(parse('user%master legacy\n').lines, ['user%master\tlegacy'])
  })

  it('knows whether identifiers ascend', () => {
    assert.equal(parse('a legacy\nab legacy\nb legacy\n').parser.ascending, true)
    assert.equal(parse('a legacy\n\n# c\n  b   legacy\nc legacy').parser.ascending, true)
    assert.equal(parse('b legacy\na legacy\n').parser.ascending, false)
    assert.equal(parse('a legacy\na stalwart\n').parser.ascending, false)
    assert.equal(parse('ab legacy\na legacy\n').parser.ascending, false)
    assert.equal(parse('\ue000 legacy\n😀 legacy\n').parser.ascending, true)
  })

  it('agrees with the rules for identifiers on every single character', () => {
    for (let code = 0; code < 0x250; code++) {
      const character = String.fromCharCode(code)
      if (character === '\t' || character === ' ' || character === '\n' || character === '\r') continue
      for (const normalize of ['none', 'lowercase'] as const) {
        const name = `x${character}y`
        const { lines, parser } = parse(`${name} legacy\n`, { normalize })
        let expected: string[]
        try {
          expected = [`${normalizeIdentifier(name, { normalize, separators: [] })}\tlegacy`]
        } catch {
          expected = []
        }
        assert.deepEqual(lines, expected, `U+${code.toString(16)}`)
        assert.equal(parser.mistakes.total, 1 - expected.length)
      }
    }
  })

  it('says the same of a file however it is cut into pieces', () => {
    const part = fc.constantFrom(
      'alice', 'Bob', 'ü', 'İ', '😀', ' ', '\t', '\n', '\n', '\r\n', ' legacy\n', '\tstalwart\n', '\tlegacy\n', ' Upper\n',
      ' größe\r\n', '#', '"', '\u0000', 'x'.repeat(600), 'y'.repeat(MAPPING_LINE - 3), '\ufeff', ' nowhere\n', 'a\tlegacy\nb\tstalwart\n',
    )
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 40 }),
        fc.array(fc.integer({ min: 0, max: 900 }), { maxLength: 30 }),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
        fc.constantFrom<Normalize>('none', 'lowercase'),
        (parts, pieces, mutations, normalize) => {
          const bytes = Buffer.from(parts.join(''))
          for (const [at, byte] of mutations) if (bytes.length > 0) bytes[at % bytes.length] = byte
          const whole = parse(bytes, { normalize })
          const cut = parse(bytes, { normalize, pieces })
          assert.deepEqual(cut.lines, whole.lines)
          assert.deepEqual(cut.parser.mistakes, whole.parser.mistakes)
          assert.equal(cut.parser.ascending, whole.parser.ascending)
          assert.equal(cut.parser.furtherFields, whole.parser.furtherFields)
          assert.equal(cut.parser.comments, whole.parser.comments)
          assert.deepEqual(cut.parser.counts, whole.parser.counts)
          // What was parsed is in the form that is only looked at: parsing it again changes nothing.
          const again = parse(`${whole.lines.join('\n')}\n`, { normalize })
          assert.deepEqual(again.lines, whole.lines.length === 0 ? [] : whole.lines)
          assert.deepEqual(hashes(again), hashes(whole))
        },
      ),
      { numRuns: 400 },
    )
  })
})

function hashes({ parser }: Parsed): number[] {
  const found: number[] = []
  for (const block of parser.notes.blocks) found.push(...block.hashes.subarray(0, parser.notes.count - found.length))
  return found
}
