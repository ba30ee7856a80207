import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { buildTable, orderTable } from '../../../src/mapping/file/build.ts'
import { decodeChanges, encodeChanges } from '../../../src/mapping/file/changes.ts'
import { Cursor } from '../../../src/mapping/file/cursor.ts'
import { DestinationNames } from '../../../src/mapping/file/destination-names.ts'
import { difference } from '../../../src/mapping/file/difference.ts'
import { Image } from '../../../src/mapping/file/image.ts'
import { orderLines } from '../../../src/mapping/file/order.ts'
import { Parser } from '../../../src/mapping/file/parser.ts'
import { Table } from '../../../src/mapping/file/table.ts'
import type { TableData } from '../../../src/mapping/file/table.ts'

const NAMES = ['legacy', 'stalwart', 'third', 'fourth', 'fifth', 'sixth', 'seventh', 'größe']

type Pair = readonly [identifier: string, destination: string]

function build(pairs: readonly Pair[]): { table: TableData; duplicates: number } {
  const image = new Image(0)
  const names = new DestinationNames(NAMES)
  const seed = 0x1234567
  const parser = new Parser(image, names, { normalize: 'none', seed })
  parser.push(new TextEncoder().encode(pairs.map(([identifier, where]) => `${identifier} ${where}\n`).join('')))
  parser.end()
  assert.equal(parser.mistakes.total, 0)
  const { table, duplicates } = buildTable({ image, names, seed, notes: parser.notes, ascending: parser.ascending, counts: parser.counts })
  return { table: orderTable(table), duplicates }
}

function inOrder(model: ReadonlyMap<string, string>): Pair[] {
  return [...model].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

function walk(cursor: Cursor): Pair[] {
  const pairs: Pair[] = []
  while (cursor.advance()) pairs.push([cursor.identifier, cursor.destination])
  return pairs
}

const character = fc.constantFrom('a', 'b', 'c', 'é', '😀', '\ue000', '~', '!', '0')
/** Few characters and shared beginnings, so that identifiers are often equal or one the beginning of another. */
const identifier = fc
  .tuple(fc.constantFrom('', 'user', 'user00', 'user0000000'), fc.array(character, { maxLength: 9 }))
  .map(([beginning, rest]) => beginning + rest.join(''))
  .filter((name) => name !== '')
const pair = fc.tuple(identifier, fc.constantFrom(...NAMES))
const pairs = fc.array(pair, { maxLength: 200 })

describe('the table', () => {
  it('is what a Map made of the same lines would be', () => {
    fc.assert(
      fc.property(pairs, fc.array(identifier, { maxLength: 20 }), (lines, strangers) => {
        const model = new Map(lines)
        const { table: data, duplicates } = build(lines)
        const table = new Table(data)
        assert.equal(data.count, model.size)
        assert.equal(duplicates, lines.length - model.size)
        for (const [name, where] of model) assert.equal(table.find(name), where)
        for (const name of strangers) assert.equal(table.find(name), model.get(name))
        assert.deepEqual(walk(new Cursor(table, [])), inOrder(model))
        const counts = NAMES.map((name) => [...model.values()].filter((where) => where === name).length)
        assert.deepEqual(data.counts, counts)
      }),
      { numRuns: 500 },
    )
  })

  it('says the same in order as out of order', () => {
    fc.assert(
      fc.property(pairs, (lines) => {
        const model = new Map(lines)
        const ordered = build(inOrder(model)).table
        assert.equal(ordered.ascending, true)
        assert.equal(ordered.order, undefined)
        assert.deepEqual(walk(new Cursor(new Table(ordered), [])), inOrder(model))
        for (const [name, where] of model) assert.equal(new Table(ordered).find(name), where)
      }),
      { numRuns: 200 },
    )
  })

  it('is walked through together with the changes on top of it, from any identifier on', () => {
    const change = fc.tuple(identifier, fc.option(fc.constantFrom(...NAMES), { nil: undefined }))
    fc.assert(
      fc.property(pairs, fc.array(change, { maxLength: 40 }), identifier, fc.boolean(), (lines, changed, from, sorted) => {
        const before = new Map(lines)
        const changes = new Map(changed)
        const model = new Map(before)
        for (const [name, where] of changes) {
          if (where === undefined) model.delete(name)
          else model.set(name, where)
        }
        const { table: data } = build(sorted ? inOrder(before) : lines)
        const table = new Table(data)
        const decoded = decodeChanges(encodeChanges(changes))
        const expected = inOrder(model)
        assert.deepEqual(walk(new Cursor(table, decoded)), expected)
        const later = expected.filter(([name]) => Buffer.compare(Buffer.from(name), Buffer.from(from)) >= 0)
        assert.deepEqual(walk(new Cursor(table, decoded, Buffer.from(`${from}\t`))), later)
      }),
      { numRuns: 300 },
    )
  })

  it('differs from another by exactly the identifiers whose destination is not the same', () => {
    fc.assert(
      fc.property(pairs, fc.array(pair, { maxLength: 20 }), pairs, (first, changed, second) => {
        const before = new Map([...first, ...changed])
        const after = new Map(second)
        const names = new Set([...before.keys(), ...after.keys()])
        const expected = [...names].filter((name) => before.get(name) !== after.get(name))
        const found = difference(build(first).table, decodeChanges(encodeChanges(new Map(changed))), build(second).table)
        assert.ok(found.identifiers !== undefined)
        assert.deepEqual(Buffer.from(found.identifiers).toString().split('\n').slice(0, -1).sort(), expected.sort())
        assert.equal(found.added, expected.filter((name) => !before.has(name)).length)
        assert.equal(found.removed, expected.filter((name) => !after.has(name)).length)
        assert.equal(found.added + found.changed + found.removed, expected.length)
      }),
      { numRuns: 200 },
    )
  })

  it('holds a hundred thousand lines in one piece', () => {
    const lines = Array.from({ length: 100_000 }, (_, i): Pair => [`user${(i * 7_919) % 100_000}@example.org`, NAMES[i % 8] ?? ''])
    const table = new Table(build(lines).table)
    for (const [name, where] of lines) assert.equal(table.find(name), where)
    for (let i = 100_000; i < 110_000; i++) assert.equal(table.find(`user${i}@example.org`), undefined)
    assert.deepEqual(walk(new Cursor(table, [])), inOrder(new Map(lines)))
  })

  it('fills an index of several strokes', () => {
    // More than two million slots: the index is filled in parts, and a probe may run from one into the next.
    const count = 1_400_000
    const image = new Image(0)
    const names = new DestinationNames(NAMES)
    const parser = new Parser(image, names, { normalize: 'none', seed: 7 })
    let text = ''
    const piece = (): void => {
      parser.push(new TextEncoder().encode(text))
      text = ''
    }
    for (let i = 0; i < count; i++) {
      text += `${(i * 7_919) % count}\t${NAMES[i % 8] ?? ''}\n`
      if (text.length > 1 << 20) piece()
    }
    text += '5 größe\n'
    piece()
    const { notes, ascending, counts } = parser
    const { table: data, duplicates } = buildTable({ image, names, seed: 7, notes, ascending, counts })
    assert.equal(duplicates, 1)
    assert.equal(data.count, count)
    const table = new Table(data)
    assert.equal(table.find('5'), 'größe')
    let wrong = 0
    for (let i = 0; i < count; i++) if ((i * 7_919) % count !== 5 && table.find(String((i * 7_919) % count)) !== NAMES[i % 8]) wrong++
    assert.equal(wrong, 0)
    assert.equal(table.find(String(count)), undefined)
  })

  it('does not find the empty identifier, nor anything in an empty table', () => {
    for (const lines of [[], [['a', 'legacy']]] satisfies Pair[][]) {
      const table = new Table(build(lines).table)
      assert.equal(table.find(''), undefined)
      assert.equal(table.find('b'), undefined)
    }
  })
})

describe('the order of lines', () => {
  it('is that of the bytes, for any number of lines and any length of what they share', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.stringMatching(/^[a-c~]{0,5}$/)), {
          maxLength: 300,
          selector: ([shared, rest]) => `${'x'.repeat(shared)}${rest}`,
        }),
        (parts) => {
          const names = parts.map(([shared, rest]) => `${'x'.repeat(shared)}${rest}`)
          let text = ''
          const offsets = new Uint32Array(names.length)
          for (const [i, name] of names.entries()) {
            offsets[i] = text.length
            text += `${name}\tlegacy\n`
          }
          orderLines(new TextEncoder().encode(text), offsets)
          const sorted = [...offsets].map((offset) => text.slice(offset, text.indexOf('\t', offset)))
          assert.deepEqual(sorted, [...names].sort())
        },
      ),
      { numRuns: 300 },
    )
  })

  it('does not run out of stack on lines that are in order, in reverse, or mostly alike', () => {
    const count = 200_000
    for (const at of [(i: number) => i, (i: number) => count - i, (i: number) => i % 1_000 + 1_000 * ((i * 31) % (count / 1_000))]) {
      const lines = Array.from({ length: count }, (_, i) => `${'p'.repeat(60)}${String(at(i)).padStart(7, '0')}\tlegacy\n`)
      const length = lines[0]?.length ?? 0
      const offsets = Uint32Array.from(lines, (_, i) => i * length)
      const text = lines.join('')
      orderLines(new TextEncoder().encode(text), offsets)
      let before = ''
      for (const offset of offsets) {
        const line = text.slice(offset, offset + length)
        assert.ok(before <= line)
        before = line
      }
    }
  })
})
