import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { MAPPING_LINE, MAPPING_MISTAKES } from '../../src/limits.ts'
import { DestinationNames } from '../../src/mapping/file/destination-names.ts'
import { Image } from '../../src/mapping/file/image.ts'
import { Parser } from '../../src/mapping/file/parser.ts'
import { mistakesOf } from '../../src/mapping/mistakes.ts'
import type { Mapping } from '../../src/mapping/source.ts'
import { formatMappings, parseMappings } from '../../src/mapping/tsv.ts'
import type { TsvCount, TsvRules } from '../../src/mapping/tsv.ts'

const NAMES = ['legacy', 'stalwart', 'größe']
const rules: TsvRules = { normalize: 'none', destinations: new Set(NAMES) }

interface Outcome {
  readonly lines: string[]
  readonly mistakes: string[]
  readonly furtherFields: number
}

async function* cut(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0
  for (const size of sizes) {
    if (at >= bytes.length) break
    yield bytes.subarray(at, at + size)
    at += size
  }
  if (at < bytes.length) yield bytes.subarray(at)
}

async function read(text: string | Buffer, sizes: readonly number[] = [], normalize: TsvRules['normalize'] = 'none'): Promise<Outcome> {
  const count: TsvCount = { lines: 0, mappings: 0, bytes: 0, furtherFields: 0 }
  const lines: string[] = []
  const bytes = Buffer.from(text)
  try {
    for await (const { identifier, destination } of parseMappings(cut(bytes, sizes), { ...rules, normalize }, count)) {
      lines.push(`${identifier}\t${destination}`)
    }
  } catch (error) {
    const found = mistakesOf(error)
    assert.ok(found !== undefined, String(error))
    const named = found.mistakes.map(({ line, message }) => `${line}: ${message}`)
    return { lines: [], mistakes: found.more > 0 ? [...named, `${found.more} more`] : named, furtherFields: 0 }
  }
  assert.equal(count.mappings, lines.length)
  assert.equal(count.bytes, bytes.length)
  return { lines, mistakes: [], furtherFields: count.furtherFields }
}

/** What the reader of mapping files makes of the same bytes. */
function readAsFile(text: string | Buffer, normalize: TsvRules['normalize']): Outcome {
  const image = new Image(0)
  const parser = new Parser(image, new DestinationNames(NAMES), { normalize, seed: 1 })
  parser.push(Buffer.from(text))
  parser.end()
  const { mistakes, more, total } = parser.mistakes
  if (total > 0) {
    const named = mistakes.map(({ line, message }) => `${line}: ${message}`)
    return { lines: [], mistakes: more > 0 ? [...named, `${more} more`] : named, furtherFields: 0 }
  }
  const lines = Buffer.from(image.bytes.subarray(0, image.length)).toString().split('\n').slice(0, -1)
  return { lines, mistakes: [], furtherFields: parser.furtherFields }
}

describe('mappings as text', () => {
  it('are read as a mapping file is, however the bytes are cut', async () => {
    const piece = fc.oneof(
      fc.constantFrom('a', 'Bob', 'grüße@x', 'legacy', 'stalwart', 'größe', 'nowhere', '#', '"', '\u0085', '\ufeff', ' ', '\t', '\n', '\r\n', '\r', '\u2028'),
      fc.constantFrom('x'.repeat(512), 'x'.repeat(513), 'y'.repeat(MAPPING_LINE), 'ü'.repeat(MAPPING_LINE)),
    )
    const bytes = fc.oneof(
      fc.array(fc.oneof({ weight: 3, arbitrary: fc.constantFrom('a legacy\n', 'B\tstalwart\n', '#\n') }, { weight: 1, arbitrary: piece }), { maxLength: 30 }).map((all) => Buffer.from(all.join(''))),
      fc.array(piece, { maxLength: 12 }).map((all) => Buffer.from(all.join(''))),
      fc.array(fc.oneof(piece.map((text) => Buffer.from(text)), fc.uint8Array({ maxLength: 3 })), { maxLength: 12 }).map((all) => Buffer.concat(all)),
    )
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 7 }), fc.constantFrom(MAPPING_LINE, MAPPING_LINE + 6)), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(bytes, sizes, fc.constantFrom('none' as const, 'lowercase' as const), async (text, pieces, normalize) => {
        assert.deepEqual(await read(text, pieces, normalize), readAsFile(text, normalize))
      }),
      { numRuns: 2_000 },
    )
  })

  it('name the one bad line in a million, and yield nothing behind it', async () => {
    const block = Buffer.from('someone@example.org\tlegacy\n'.repeat(1_000))
    async function* million(): AsyncGenerator<Buffer> {
      for (let i = 0; i < 1_000; i++) yield i === 777 ? Buffer.from('bad\n'.concat('a legacy\n'.repeat(999))) : block
    }
    let seen = 0
    await assert.rejects(async () => {
      for await (const _ of parseMappings(million(), rules)) seen++
    }, /line 777001: fewer than two fields/)
    assert.equal(seen, 777_000)
  })

  it(`name ${MAPPING_MISTAKES} mistakes and count the rest`, async () => {
    const { mistakes } = await read('bad\n'.repeat(MAPPING_MISTAKES + 5))
    assert.equal(mistakes.length, MAPPING_MISTAKES + 1)
    assert.equal(mistakes.at(-1), '5 more')
  })

  it('take the memory of a line for a line without end', async () => {
    const piece = Buffer.alloc(65_536, 'x')
    let taken = 0
    async function* endless(): AsyncGenerator<Buffer> {
      for (let i = 0; i < 2_000; i++) {
        taken++
        yield piece
      }
    }
    await assert.rejects(async () => {
      for await (const _ of parseMappings(endless(), rules)) assert.fail('nothing is yielded')
    }, /line 1: longer than/)
    assert.ok(taken < 10, 'and read no further than it must be')
  })

  it('are written so that they read back as they were, and say what could not be written', async () => {
    const mappings = fc.array(fc.record({ identifier: fc.string({ unit: 'binary', maxLength: 8 }), destination: fc.constantFrom(...NAMES) }))
    await fc.assert(
      fc.asyncProperty(mappings, async (all) => {
        async function* each(): AsyncGenerator<Mapping> {
          yield* all
        }
        let text = ''
        for await (const some of formatMappings(each())) text += some
        const { lines, mistakes } = await read(text)
        assert.deepEqual(mistakes, [])
        const leftOut = Number(/^# (\d+) left out/m.exec(text)?.[1] ?? 0)
        assert.equal(lines.length + leftOut, all.length)
        const given = all.map(({ identifier, destination }) => `${identifier}\t${destination}`)
        assert.deepEqual(lines.filter((line) => !given.includes(line)), [])
      }),
    )
  })
})
