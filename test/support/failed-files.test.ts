/** Which files the runner is told to run once more. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTemporary } from './temporary.ts'

const REPORTER = new URL('failed-files.ts', import.meta.url).href

test('names each file that ran something that failed, wherever that stands, and each that died; no other', async (t) => {
  const temporary = await makeTemporary('failed-files')
  t.after(() => temporary.remove())
  const files = {
    'suite.ts': "import { test } from 'node:test'\nexport const suite = () => test('shared', () => { throw new Error('no') })\n",
    'shares.test.ts': "import { suite } from './suite.ts'\nsuite()\n",
    'dies.test.ts': 'process.exit(3)\n',
    'nested.test.ts': "import { describe, it } from 'node:test'\ndescribe('a', () => { it('b', () => { throw new Error('no') }) })\n",
    'sound.test.ts': "import { test } from 'node:test'\ntest('sound', () => {})\n",
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(temporary.path, name), text)
  const tests = Object.keys(files).filter((name) => name.endsWith('.test.ts'))
  // Node's runner refuses to run within itself while this is set.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const { stdout, status } = spawnSync(process.execPath, ['--test', `--test-reporter=${REPORTER}`, '--test-reporter-destination=stdout', ...tests], { cwd: temporary.path, env, encoding: 'utf8' })
  assert.equal(status, 1)
  assert.deepEqual(stdout.split('\n').filter((line) => line.endsWith('.test.ts')).sort(), ['dies.test.ts', 'nested.test.ts', 'shares.test.ts'])
})
