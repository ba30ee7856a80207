import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePort } from './ports.ts'
import { accepts } from './server-process.ts'
import { soon } from './soon.ts'

const MODULE = join(import.meta.dirname, 'server-process.ts')

test('a server ends with the process that has started it, though nobody has stopped it', async () => {
  const port = await freePort()
  const server = `require('node:net').createServer().listen(${port}, '127.0.0.1')`
  const start = `import { ServerProcess } from ${JSON.stringify(MODULE)}
    const server = new ServerProcess({ program: process.execPath, args: ['-e', ${JSON.stringify(server)}], port: ${port} })
    await server.start()
    process.send('listening')
    process.once('message', () => process.exit())`
  const starter = fork('-', [], { execArgv: ['--input-type=module', '--eval', start] })
  const ended = once(starter, 'exit')
  const [told] = await Promise.race([once(starter, 'message'), ended])
  assert.equal(told, 'listening')
  assert.equal(await accepts(port), true)
  starter.send('end')
  await ended
  await soon('the end of the server', async () => !(await accepts(port)))
})
