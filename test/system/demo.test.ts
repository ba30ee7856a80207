import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { cleanEnv, Demo, paste } from '../support/demo.ts'
import { skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

const run = promisify(execFile)

async function walkThrough(demo: Demo): Promise<void> {
  await demo.until(/Ctrl-C ends the demo/)
  const [login = '', move = '', again = ''] = demo.commands()
  assert.equal(demo.commands().length, 3)
  assert.match(await paste(login), /You are on the OLD server\./)
  assert.match(await paste(move), /^ok\nkicked 0\n$/)
  assert.match(await paste(again), /You are on the NEW server\./)
  await demo.until(/"event":"login".*"destination":"new"/)
}

/** A directory with links to these programs and no others. */
async function onlyTools(tools: Readonly<Record<string, string>>): Promise<Temporary> {
  const temporary = await makeTemporary('tools')
  for (const [name, path] of Object.entries(tools)) await symlink(path, join(temporary.path, name))
  return temporary
}

describe('the demo', () => {
  let demo: Demo | undefined

  before(() => {
    demo = undefined
  })
  after(() => demo?.interrupt())

  it('prints three commands for curl that work as printed, and leaves nothing behind', { skip: skipWithout('curl') }, async () => {
    demo = new Demo(cleanEnv({ PROXY_ADMIN_TOKEN: 'somebody else has set this in the environment' }))
    await walkThrough(demo)
    assert.match(demo.commands()[0] ?? '', /^curl /)
    const directory = dirname(/--cacert (\S+)/.exec(demo.output)?.[1] ?? '')
    assert.ok(existsSync(directory))
    await demo.interrupt()
    // npm reports the interrupt before the demo behind it has ended.
    for (let tries = 0; existsSync(directory) && tries < 200; tries++) await systemClock.sleep(50)
    assert.ok(!existsSync(directory))
  })

  it('prints commands for Node where there is no curl', async () => {
    // A PATH with nothing but what npm itself needs: env finds node in node_modules/.bin, which npm adds.
    const { stdout: npm } = await run('sh', ['-c', 'command -v npm'])
    const { stdout: node } = await run('sh', ['-c', 'command -v node'])
    await using tools = await onlyTools({ npm: npm.trim(), node: node.trim(), sh: '/bin/sh', env: '/usr/bin/env' })
    demo = new Demo(cleanEnv({ PATH: tools.path }))
    await walkThrough(demo)
    assert.doesNotMatch(demo.commands().join(), /curl/)
  })
})
