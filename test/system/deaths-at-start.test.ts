/** Workers that die before one was ever ready: a few are replaced, too many end the instance, which says so. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { DEATHS_AT_START } from '../../src/limits.ts'
import { Premises } from '../support/premises.ts'

const FIXTURE = new URL('fixtures/dies-at-start.ts', import.meta.url).href

async function premises(dies: number): Promise<Premises> {
  const env: NodeJS.ProcessEnv = { NODE_OPTIONS: `--import=${FIXTURE}`, DIES: String(dies) }
  const made = await Premises.make({ env })
  env['DIES_DIRECTORY'] = made.directory
  return made
}

it('one death less than are too many is survived: the instance comes up', async () => {
  await using house = await premises(DEATHS_AT_START - 1)
  const box = await house.start(house.config())
  assert.equal(box.lines.filter(({ event, expected }) => event === 'worker_exited' && expected === false).length, DEATHS_AT_START - 1)
  assert.equal((await box.admin.request('GET', '/readyz')).status, 200)
})

it('too many end the instance with status 1 and the reason, and nothing is left', async () => {
  await using house = await premises(100)
  const box = await house.launch(house.config())
  assert.deepEqual(await box.exited, { code: 1, signal: null })
  assert.match(box.lines.map(({ text }) => text).join('\n'), new RegExp(`"event":"failed".*${DEATHS_AT_START} workers died before one was ready`))
  await house.empty()
})
