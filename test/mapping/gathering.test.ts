import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GATHER_MS, IDENTIFIERS_PER_FRAME } from '../../src/limits.ts'
import { Gathering } from '../../src/mapping/gathering.ts'
import type { Changed } from '../../src/mapping/source.ts'
import { FakeClock } from '../support/fake-clock.ts'

function make(): { clock: FakeClock; gathering: Gathering; passed: Changed[] } {
  const clock = new FakeClock()
  const passed: Changed[] = []
  return { clock, passed, gathering: new Gathering(clock, (changed) => passed.push(changed)) }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const of = (...identifiers: string[]): Changed => ({ all: false, identifiers })

test('a single change is passed on without any time going by, and so is what came in the same turn', async () => {
  const { gathering, passed } = make()
  gathering.add('a')
  gathering.add('b')
  gathering.add('a')
  await turn()
  assert.deepEqual(passed, [of('a', 'b')])
})

test('what follows at once is gathered; after a pause a single one goes at once again', async () => {
  const { clock, gathering, passed } = make()
  gathering.add('a')
  await turn()
  for (const name of ['b', 'c', 'a']) {
    gathering.add(name)
    await turn()
  }
  clock.advance(GATHER_MS - 1)
  assert.equal(passed.length, 1)
  clock.advance(1)
  assert.deepEqual(passed, [of('a'), of('b', 'c', 'a')])
  clock.advance(GATHER_MS)
  assert.equal(clock.pending, 0)
  gathering.add('d')
  await turn()
  assert.deepEqual(passed.at(-1), of('d'))
})

test('a flood is a change now and then, and one that names too many means all', async () => {
  const { clock, gathering, passed } = make()
  for (let i = 0; i <= IDENTIFIERS_PER_FRAME; i++) gathering.add(`first${i}`)
  gathering.add('swallowed')
  await turn()
  assert.deepEqual(passed, [{ all: true }])
  for (let i = 0; i < IDENTIFIERS_PER_FRAME; i++) gathering.add(`second${i}`)
  await turn()
  clock.advance(GATHER_MS)
  const [, second] = passed
  assert.ok(second?.all === false)
  assert.equal(second.identifiers.length, IDENTIFIERS_PER_FRAME)
  gathering.add('x')
  gathering.add(undefined)
  gathering.add('y')
  clock.advance(GATHER_MS)
  assert.deepEqual(passed.slice(2), [{ all: true }])
})

test('what is gathered can be passed on before its time, and what was closed says nothing any more', async () => {
  const { clock, gathering, passed } = make()
  gathering.add('a')
  gathering.flush()
  gathering.add('b')
  gathering.flush()
  gathering.flush()
  assert.deepEqual(passed, [of('a'), of('b')])
  gathering.add('c')
  gathering.close()
  await turn()
  clock.advance(GATHER_MS * 10)
  assert.equal(passed.length, 2)
})
