import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { cleanEnv, Demo, paste } from '../support/demo.ts'
import { skipWithout } from '../support/programs.ts'

/** What is the same in every run of a JSON answer: names, kinds of values, what is true, false or null. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shape)
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shape(inner)]))
  return value === null || typeof value === 'boolean' ? value : typeof value
}

/** One value, or one per line (lines of JSON). */
function shapes(text: string): unknown {
  return text.trim().split('\n').map((line) => shape(JSON.parse(line)))
}

describe('the examples of docs/management.md', () => {
  it('work as printed while the demo runs, and give the answers that are printed', { skip: skipWithout('curl') }, async (t) => {
    const page = await readFile(new URL('../../docs/management.md', import.meta.url), 'utf8')
    const setting = /```sh\n(ask\(\)[^`]+)```/.exec(page)?.[1] ?? ''
    const examples = [...page.matchAll(/```sh\n([^`]+)```\n```(text|json)\n([^`]+)```/g)]
    assert.ok(examples.length >= 14, 'the pattern finds them')

    const demo = new Demo(cleanEnv())
    t.after(() => demo.interrupt())
    await demo.until(/Ctrl-C ends the demo/)
    const exported = /^export .*$/m.exec(demo.output)?.[0] ?? ''
    for (const [, command = '', kind, printed = ''] of examples) {
      const answer = await paste(`${exported}\n${setting}${command}`)
      if (kind === 'text') assert.equal(answer, printed, command)
      else assert.deepEqual(shapes(answer), shapes(printed), command)
    }
  })
})
