/** Leases beside a shared mapping file, taken by several at the same moment. */
import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '../../../src/clock.ts'
import { FileLeases } from '../../../src/mapping/file/leases.ts'
import { makeTemporary } from '../../support/temporary.ts'
import type { Temporary } from '../../support/temporary.ts'

const ROUNDS = 40
const AT_ONCE = 6

describe('leases beside a file', () => {
  let temporary: Temporary
  let target: string

  before(async () => {
    temporary = await makeTemporary('leases')
    target = join(temporary.path, 'map')
    await writeFile(target, '')
  })
  after(() => temporary.remove())

  it('one that has ended goes to one of those who want it, and stays his', async () => {
    const instances = Array.from({ length: AT_ONCE }, () => new FileLeases(async () => target, systemClock))
    for (let round = 0; round < ROUNDS; round++) {
      const account = `raced${round}`
      await instances[0]?.lease(account, { id: 'dead', who: '', since: 1 }, 1)
      await systemClock.sleep(3)
      const answers = await Promise.all(instances.map((from, index) => from.lease(account, { id: `r${index}`, who: '', since: index }, 60_000)))
      assert.equal(answers.filter((answer) => answer === undefined).length, 1, JSON.stringify(answers))
      const winner = `r${answers.indexOf(undefined)}`
      assert.equal((await instances[0]?.lease(account, { id: 'late', who: '', since: 1 }, 60_000))?.id, winner)
      // Its first holder wakes up.
      await instances[0]?.endLease(account, 'dead')
      assert.equal((await instances[0]?.lease(account, { id: 'late', who: '', since: 1 }, 60_000))?.id, winner)
    }
  })

  it('what was left behind long ago is removed at a start, and nothing else', async () => {
    const leases = new FileLeases(async () => target, systemClock)
    await leases.lease('old', { id: 'old', who: '', since: 1 }, -7_200_000)
    await leases.lease('ended', { id: 'ended', who: '', since: 1 }, -1)
    const before = (await readdir(temporary.path)).length
    await leases.sweep()
    assert.equal((await readdir(temporary.path)).length, before - 1)
    assert.equal(await leases.lease('old', { id: 'new', who: '', since: 1 }, 60_000), undefined)
  })
})
