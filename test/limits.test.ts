/**
 * Every bound of src/limits.ts has a test that tries it where it lies, or is named in support/bounds.ts as one that has none.
 * Tried means: something is done at N and allowed, and at N + 1 it is refused, ended, dropped or evicted; of a time: just before it
 * nothing has happened yet, and then it does, on the fake clock. Where Node's own timers are behind it, the effect is shown with a
 * short time of the test's own, and that the usual one is handed to Node. Where N can't be told from N + 1 to the byte or
 * millisecond, support/bounds.ts says why (ROUGHLY).
 *
 * Tests take N from src/limits.ts, so that another N is another bound and no failure. That the bound is applied at all is shown by
 * `npm run test:limits-bite` (scripts/mutate-limits.ts): it changes each one for the program alone, and the file that is named for it
 * must fail. That takes too long for every run of the tests; this file looks that every constant has its line and every line its test.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import * as limits from '../src/limits.ts'
import { BY_NAME, BY_VALUE, NOT_OURS, NOT_PROVEN, ROUGHLY } from './support/bounds.ts'

const text = (file: string): Promise<string> => readFile(new URL(`${file}.test.ts`, import.meta.url), 'utf8')

describe('the bounds of src/limits.ts', () => {
  it('each have a test, or are named as one that has none, and only once', () => {
    const listed = [...Object.values(BY_NAME).flat(), ...[BY_VALUE, NOT_OURS, NOT_PROVEN].flatMap((names) => Object.keys(names))]
    assert.deepEqual(listed.filter((name, index) => listed.indexOf(name) !== index), [], 'listed twice')
    assert.deepEqual(Object.keys(limits).filter((name) => !listed.includes(name)), [], 'without a line in test/support/bounds.ts')
    assert.deepEqual([...listed, ...Object.keys(ROUGHLY)].filter((name) => !(name in limits)), [], 'gone from src/limits.ts')
  })

  it('are tried where it is said', async () => {
    const named = [...Object.entries(BY_NAME), ...Object.entries(NOT_OURS).map(([name, [, file]]) => [file, [name]] as const)]
    for (const [file, names] of named) {
      const source = (await text(file)).replace(/^import [^]*?from '.*'$/gm, '')
      for (const name of names) assert.match(source, new RegExp(`\\b${name}\\b`), `${file} does not use ${name}`)
    }
    for (const [name, [file, title]] of Object.entries(BY_VALUE)) assert.ok((await text(file)).includes(title), `${name}: ${file} has no "${title}"`)
  })
})
