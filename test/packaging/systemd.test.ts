/** The unit file, judged by systemd's own tools, and held against what the proxy needs of it. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parseDuration } from '../../src/config/duration.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'

const UNIT = fileURLToPath(new URL('../../packaging/systemd/signalbox.service', import.meta.url))
const REFERENCE = new URL('../../config/reference.toml', import.meta.url)
/** What systemd before 254 says of the settings that it doesn't know yet, as the unit itself does. */
const NEWER = /Unknown key(?: name)? '(?:RestartSteps|RestartMaxDelaySec)'.*, ignoring/
/** Of 100; what is left is what a network service that is configured from outside can't do without. */
const EXPOSURE = 25
const run = promisify(execFile)

/** All values of a setting, in order. */
async function setting(name: string): Promise<string[]> {
  const lines = (await readFile(UNIT, 'utf8')).split('\n')
  return lines.filter((line) => line.startsWith(`${name}=`)).map((line) => line.slice(name.length + 1))
}

describe('the unit file', () => {
  it('has no mistake, and leaves little to somebody who breaks in', { skip: skipWithout('systemd-analyze') }, async () => {
    await using temporary = await makeTemporary('unit')
    const copy = join(temporary.path, 'signalbox.service')
    // The tool looks whether the program is there.
    await writeFile(copy, (await readFile(UNIT, 'utf8')).replaceAll('/usr/local/bin/signalbox', process.execPath))
    const verified = await run(programPath('systemd-analyze'), ['verify', '--man=no', copy])
    const said = verified.stderr.split('\n').filter((line) => line !== '' && !NEWER.test(line))
    assert.deepEqual(said, [])
    await run(programPath('systemd-analyze'), ['security', '--offline=yes', `--threshold=${EXPOSURE}`, copy])
    await writeFile(copy, `${await readFile(copy, 'utf8')}\n[Service]\nKillMode=sometimes\n`)
    const spoilt = await run(programPath('systemd-analyze'), ['verify', '--man=no', copy]).catch((error: { stderr: string }) => error)
    assert.match(spoilt.stderr, /KillMode|kill mode/i)
  })

  it('lets the word of systemd-notify through, and signals the primary alone', async () => {
    assert.deepEqual(await setting('Type'), ['notify'])
    assert.deepEqual(await setting('NotifyAccess'), ['all'])
    assert.deepEqual(await setting('KillMode'), ['mixed'])
    assert.deepEqual(await setting('KillSignal'), ['SIGTERM'])
    assert.equal((await setting('ExecReload')).at(-1), '/bin/kill -HUP $MAINPID')
    assert.deepEqual(await setting('RestartPreventExitStatus'), ['2'])
  })

  it('never gives up starting it again, and lets no signal open a debugger', async () => {
    const text = await readFile(UNIT, 'utf8')
    assert.match(text, /^\[Unit\]\n(?:[^[].*\n|\n)*StartLimitIntervalSec=0$/m)
    assert.deepEqual(await setting('Restart'), ['on-failure'])
    assert.deepEqual(await setting('Environment'), ['NODE_OPTIONS=--disable-sigusr1'])
  })

  it('waits longer than sessions may take to finish', async () => {
    const grace = /^#? ?shutdown_grace = "(\w+)"/m.exec(await readFile(REFERENCE, 'utf8'))?.[1] ?? ''
    const [wait = ''] = await setting('TimeoutStopSec')
    const [finish, patience] = [parseDuration(grace), parseDuration(wait)]
    assert.ok(finish.ok && patience.ok)
    // What the unit itself adds up.
    const beyond = /\(30 s unless configured\) and (\d+) s/.exec(await readFile(UNIT, 'utf8'))?.[1]
    assert.ok(patience.value > finish.value + Number(beyond) * 1_000, `${wait} for a grace of ${grace}`)
  })

  it('gives the one capability that ports below 1024 need, and no way to another', async () => {
    assert.deepEqual(await setting('AmbientCapabilities'), ['CAP_NET_BIND_SERVICE'])
    assert.deepEqual(await setting('CapabilityBoundingSet'), ['CAP_NET_BIND_SERVICE'])
    assert.deepEqual(await setting('NoNewPrivileges'), ['yes'])
    assert.deepEqual(await setting('ProtectSystem'), ['strict'])
  })
})
