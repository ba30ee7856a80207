import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { CommandReader, parseSet, quote, SyntaxProblem } from '../../src/demo/imap-wire.ts'
import type { Command } from '../../src/demo/imap-wire.ts'

function readAll(pieces: readonly Buffer[]): { commands: Command[]; goAheads: number } {
  let goAheads = 0
  const reader = new CommandReader(() => goAheads++)
  const commands: Command[] = []
  for (const piece of pieces) {
    reader.feed(piece)
    for (let command = reader.command(); command !== undefined; command = reader.command()) commands.push(command)
  }
  return { commands, goAheads }
}

const CORPUS = Buffer.from(
  'a1 noop\r\n' +
    'a2 LOGIN "al\\"ice" {3}\r\np w\r\n' +
    'a3 UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (DATE "FROM")]<0.10>)\r\n' +
    'a4 APPEND INBOX (\\Seen) {5+}\r\nh\r\n\r\n\n' +
    'a5 LOGIN {1}\r\nu {2+}\r\npp\r\n',
)

describe('the grammar of the demo servers', () => {
  it('reads commands with quoted strings, literals, lists and sections', () => {
    const { commands, goAheads } = readAll([CORPUS])
    assert.deepEqual(commands.map(({ tag, name }) => `${tag} ${name}`), ['a1 NOOP', 'a2 LOGIN', 'a3 UID', 'a4 APPEND', 'a5 LOGIN'])
    assert.deepEqual(commands[1]?.args, [
      { kind: 'string', bytes: Buffer.from('al"ice') },
      { kind: 'string', bytes: Buffer.from('p w') },
    ])
    assert.deepEqual(commands[2]?.args[2], {
      kind: 'list',
      items: [{ kind: 'atom', text: 'FLAGS' }, { kind: 'atom', text: 'BODY.PEEK[HEADER.FIELDS (DATE "FROM")]<0.10>' }],
    })
    assert.deepEqual(commands[3]?.args.at(-1), { kind: 'string', bytes: Buffer.from('h\r\n\r\n') })
    assert.equal(goAheads, 2)
  })

  it('reads the same from any pieces', () => {
    const whole = readAll([CORPUS])
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: CORPUS.length - 1 }), { maxLength: 20 }), (cuts) => {
        const at = [0, ...new Set(cuts.toSorted((a, b) => a - b)), CORPUS.length]
        const pieces = at.slice(1).map((end, index) => CORPUS.subarray(at[index], end))
        assert.deepEqual(readAll(pieces), whole)
      }),
    )
    assert.deepEqual(readAll([...CORPUS].map((byte) => Buffer.from([byte]))), whole)
  })

  it('refuses nonsense, and only ever with a SyntaxProblem', () => {
    for (const bad of ['\r\n', 'a\r\n', 'a (\r\n', 'a x (\r\n', 'a x "\r\n', 'a x )\r\n', 'a x [\r\n']) {
      assert.throws(() => readAll([Buffer.from(bad)]), SyntaxProblem, bad)
    }
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', ' ', '(', ')', '"', '\\', '{', '1', '}', '+', '[', ']', '\r', '\n'), maxLength: 60 }), (text) => {
        try {
          readAll([Buffer.from(text)])
        } catch (thrown) {
          assert.ok(thrown instanceof SyntaxProblem, String(thrown))
        }
      }),
    )
  })

  it('bounds lines, literals and depth', () => {
    assert.throws(() => readAll([Buffer.alloc(65_537, 'a')]), SyntaxProblem)
    assert.throws(() => readAll([Buffer.from('a x {67108865}\r\n')]), SyntaxProblem)
    assert.equal(readAll([Buffer.from('a x {67108864}\r\n')]).goAheads, 1)
    assert.throws(() => readAll([Buffer.from(`a x ${'('.repeat(20)}${')'.repeat(20)}\r\n`)]), SyntaxProblem)
  })

  it('reads sets and writes strings', () => {
    assert.deepEqual(parseSet('1,3:*,*:2', 5), [[1, 1], [3, 5], [2, 5]])
    assert.equal(parseSet('1,', 5), undefined)
    assert.equal(quote('a"b\\'), '"a\\"b\\\\"')
    assert.equal(quote(undefined), 'NIL')
    assert.equal(quote('ä'), '{2}\r\n\xc3\xa4')
  })
})
