/**
 * Starts as an operator sees them: what is wrong is named, the exit status says of which sort it is, and nothing is left
 * half started. Where root is given up, it is given up everywhere and for good.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmod, chown, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { Premises } from '../support/premises.ts'
import { Rig } from '../support/rig.ts'
import { MAIN } from '../support/signalbox.ts'
import type { Exit, Signalbox } from '../support/signalbox.ts'
import { silentServer } from '../support/silent-server.ts'
import { soon } from '../support/soon.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const ROOT = process.getuid?.() === 0
const NOBODY = 65_534
/** An address of the loopback on which ports below 1024 are surely free. */
const ASIDE = '127.119.7.11'

interface Refused {
  readonly exit: Exit
  readonly errors: string
  readonly log: string
}

/** Starts it, waits for its end, and sees that nothing listens and nothing runs. */
async function refused(premises: Premises, config: string, open: readonly number[] = []): Promise<Refused> {
  const box = await premises.launch(config)
  const exit = await box.exited
  assert.deepEqual(await premises.open(), open)
  await premises.empty()
  assert.ok(!box.lines.some(({ event }) => event === 'ready' || event === 'worker_ready'))
  return { exit, errors: box.errors, log: box.lines.map(({ text }) => text).join('\n') }
}

describe('a start that is refused', () => {
  let premises: Premises

  before(async () => {
    premises = await Premises.make()
  })
  after(() => premises[Symbol.asyncDispose]())

  for (const [which, distribution] of [['imap', 'primary'], ['imap', 'kernel'], ['management', 'primary']] as const) {
    it(`names the port in use and leaves nothing running: ${which}, distribution ${distribution}`, async () => {
      const port = premises[which]
      const holder = createServer()
      await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve))
      try {
        const { exit, log } = await refused(premises, premises.config({ server: { threads: 2, distribution } }), [port])
        assert.deepEqual(exit, { code: 1, signal: null })
        assert.match(log, new RegExp(`${which === 'imap' ? 'listener \\\\"imap\\\\"' : 'management API'}[^"]*127\\.0\\.0\\.1:${port}`))
        assert.match(log, /EADDRINUSE/)
      } finally {
        await new Promise((resolve) => holder.close(resolve))
      }
    })
  }

  it('tells all mistakes of the configuration at once, with status 2', async () => {
    const { exit, errors, log } = await refused(
      premises,
      premises.config({ server: { threds: 2, log_level: 'loud' }, routing: { default_destination: 'won' } }),
    )
    assert.deepEqual(exit, { code: 2, signal: null })
    for (const said of [/server\.threds: .*"threads"/, /server\.log_level: .*"loud"/, /routing\.default_destination: .*"won".*one/]) assert.match(errors, said)
    assert.equal(log, '')
  })

  it('names the bad lines of the mapping file, twenty at most', async () => {
    const lines = Array.from({ length: 24 }, (_, index) => `user${index}@example.com nowhere\n`)
    await writeFile(premises.at('bad'), Buffer.concat([Buffer.from('ann@example.com one\nbob@example.com\n\xff one\n', 'latin1'), Buffer.from(lines.join(''))]))
    const { exit, errors } = await refused(premises, premises.config({ mapping: { file: { path: premises.at('bad') } } }))
    assert.deepEqual(exit, { code: 2, signal: null })
    assert.match(errors, /line 2: fewer than two fields/)
    assert.match(errors, /line 3: not valid UTF-8/)
    assert.match(errors, /line 21: destination "nowhere" is not declared/)
    assert.match(errors, /and 6 more/)
    assert.doesNotMatch(errors, /line 22|user1@/)
  })

  it('says that the mapping file is missing', async () => {
    const { exit, log } = await refused(premises, premises.config({ mapping: { file: { path: premises.at('missing') } } }))
    assert.deepEqual(exit, { code: 1, signal: null })
    assert.match(log, /missing: ENOENT/)
  })

  it('names a token that is too short, without showing it', async () => {
    await writeFile(premises.at('short'), 'geheim\n', { mode: 0o600 })
    const { exit, errors } = await refused(premises, premises.config({ admin: { bearer_token_file: premises.at('short') } }))
    assert.deepEqual(exit, { code: 2, signal: null })
    assert.match(errors, /admin\.bearer_token_file: .*6 characters.*32/)
    assert.doesNotMatch(errors, /geheim/)
  })

  it('names a key that cannot be read, and one that belongs to another certificate', async () => {
    const { key } = await premises.authority.issue({ names: ['localhost'] })
    await writeFile(premises.at('other.pem'), key)
    const config = (name: string): string => premises.config({ tls: { certificate: { test: { cert: premises.at('cert.pem'), key: premises.at(name) } } } })
    const other = await refused(premises, config('other.pem'))
    assert.deepEqual(other.exit, { code: 2, signal: null })
    assert.match(other.errors, /tls\.certificate\.test\.key: .*does not belong/)
    await chmod(premises.at('other.pem'), 0)
    // Root may read everything, so for root it is a file that isn't one.
    const unreadable = await refused(premises, config(ROOT ? '.' : 'other.pem'))
    assert.deepEqual(unreadable.exit, { code: 2, signal: null })
    assert.match(unreadable.errors, /tls\.certificate\.test\.key: cannot be read/)
  })

  it('names what the user that root is given up for could not use', { skip: ROOT ? false : 'needs root' }, async () => {
    await chmod(premises.directory, 0o755)
    const { exit, log } = await refused(premises, premises.config({ server: { threads: 1, user: 'nobody' } }))
    assert.deepEqual(exit, { code: 2, signal: null })
    assert.match(log, /as user \\"nobody\\".*key\.pem: EACCES.*directory .*EACCES/)
    const unknown = await refused(premises, premises.config({ server: { threads: 1, user: 'no-such-user' } }))
    assert.deepEqual(unknown.exit, { code: 2, signal: null })
    assert.match(unknown.errors, /server\.user: .*"no-such-user"/)
  })
})

describe('a start that is broken off', () => {
  let premises: Premises

  before(async () => {
    premises = await Premises.make()
  })
  after(() => premises[Symbol.asyncDispose]())

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends as asked for while the workers begin, with nothing left running: ${signal}`, async () => {
      const box = await premises.launch(premises.config())
      // The first process is the primary, and it starts workers only when it is able to serve.
      while (premises.leftovers().length < 2) await systemClock.sleep(5)
      box.signal(signal)
      assert.deepEqual(await box.exited, { code: 0, signal: null })
      await premises.empty()
      assert.deepEqual(await premises.open(), [])
      assert.equal(box.lines.filter(({ event }) => event === 'failed' || event === 'primary_crashed').length, 0)
      assert.ok(box.lines.some(({ event }) => event === 'stopped'))
      assert.equal(box.errors, '')
    })
  }

  it('ends while a store keeps it waiting, at once when asked twice', async () => {
    using silent = await silentServer()
    const mapping = { source: 'redis', file: undefined, redis: { url: `redis://127.0.0.1:${silent.port}/0` } }
    const box = await premises.launch(premises.config({ mapping }))
    await silent.asked
    box.signal('SIGTERM')
    // Two that the kernel has at the same time are one.
    const again = systemClock.every(50, () => box.signal('SIGTERM'))
    void box.exited.then(() => again.cancel())
    assert.deepEqual(await box.exited, { code: 0, signal: null })
    await premises.empty()
    assert.ok(!box.lines.some(({ event }) => event === 'ready' || event === 'failed'))
  })
})

describe('signals that come before the command line is read', () => {
  const HELD = new URL('fixtures/held-start.ts', import.meta.url).href

  /** Sends them as early as they can be heeded, and lets the start go on. */
  async function early(premises: Premises, env: NodeJS.ProcessEnv, signals: readonly NodeJS.Signals[]): Promise<Signalbox> {
    env['NODE_OPTIONS'] = `--import=${HELD}`
    env['HELD_UNTIL'] = premises.at(`go-${signals.join('-')}`)
    const box = await premises.launch(premises.config({ server: { threads: 1, shutdown_grace: '1s', log_format: 'json' } }))
    await soon('it is held', () => box.errors === 'held\n')
    for (const signal of signals) box.signal(signal)
    await writeFile(env['HELD_UNTIL'], '')
    return box
  }

  it('end nothing and open no debugger, and the log names them', async () => {
    const env: NodeJS.ProcessEnv = {}
    await using premises = await Premises.make({ env })
    const signals = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const
    const box = await early(premises, env, signals)
    await box.line(({ event }) => event === 'ready')
    const ignored = box.lines.filter(({ event }) => event === 'signal_ignored')
    assert.deepEqual(new Set(ignored.map(({ signal }) => signal)), new Set(signals))
    assert.equal(box.errors, 'held\n')
    assert.deepEqual(await box.stop(), { code: 0, signal: null })
  })

  it('are an end as asked for where they ask for it, and nothing is started', async () => {
    const env: NodeJS.ProcessEnv = {}
    await using premises = await Premises.make({ env })
    const box = await early(premises, env, ['SIGTERM'])
    assert.deepEqual(await box.exited, { code: 0, signal: null })
    assert.deepEqual(box.lines, [])
    await premises.empty()
  })

  it('end another command as they end every program', async () => {
    await using premises = await Premises.make()
    const file = premises.at('mail.toml')
    await writeFile(file, premises.config())
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: `--import=${HELD}`, HELD_UNTIL: premises.at('go') }
    const child = spawn(process.execPath, [MAIN, 'check', file], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
    await new Promise((resolve) => child.stderr.once('data', resolve))
    child.kill('SIGTERM')
    await writeFile(env.HELD_UNTIL, '')
    assert.deepEqual(await exited, { code: null, signal: 'SIGTERM' })
  })
})

describe('npm start', () => {
  it('ends when it is asked to, and not when its sessions would have had to', async () => {
    const { scripts } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as { scripts: { start: string } }
    const [node, ...command] = scripts.start.split(' ')
    assert.equal(node, 'node')
    await using premises = await Premises.make()
    const box = await premises.start(premises.config({ server: { threads: 1, shutdown_grace: '1h', log_format: 'json' } }), command)
    assert.deepEqual(await box.stop(), { code: 0, signal: null })
    assert.ok(box.lines.some(({ event }) => event === 'stopped'))
    await premises.empty()
  })
})

describe('distribution = "kernel"', () => {
  it('serves logins, and goes on serving every one of them while a worker is killed', async () => {
    await using stub = await stubServer()
    await using rig = await Rig.start({ destinations: { one: { port: stub.port, tls: 'plain' } }, tables: { server: { distribution: 'kernel' } } })
    const holders = [...rig.box.workers().values()]
    for (let round = 0; round < 2; round++) {
      const [, victim = 0] = [...rig.box.workers()][0] ?? []
      process.kill(victim, 'SIGKILL')
      // Round robin would hang the very first of these: it waits for the dead worker's word.
      for (let login = 0; login < 10; login++) (await rig.loggedIn(`user${login}@example.com`)).destroy()
      await rig.respawned(victim)
    }
    const pids = [...rig.box.workers().values()]
    assert.equal(pids.filter((pid) => holders.includes(pid)).length, 0)
    assert.equal((await rig.admin.put('ann@example.com', 'one')).status, 200)
  })
})

describe('giving up root', { skip: ROOT ? false : 'needs root' }, () => {
  for (const distribution of ['primary', 'kernel']) {
    it(`happens in every process, ports below 1024 or not, and after a worker's death: distribution ${distribution}`, async () => {
      await using stub = await stubServer()
      await using premises = await Premises.make({ backend: stub.port, bind: { host: ASIDE, imaps: 993, imap: 143 } })
      for (const name of ['', 'cert.pem', 'key.pem', 'token', 'mappings']) await chown(premises.at(name), NOBODY, NOBODY)
      const box = await premises.start(premises.config({ server: { threads: 2, user: 'nobody', distribution, shutdown_grace: '1s', log_format: 'json' } }))
      await everybodyIsNobody(box)
      const [[, victim] = []] = [...box.workers()]
      assert.ok(victim !== undefined)
      process.kill(victim, 'SIGKILL')
      await box.line(({ event, worker }) => event === 'worker_ready' && worker === 3)
      await everybodyIsNobody(box)
      const client = await WireClient.connect({ host: ASIDE, port: 993, ca: premises.authority.cert })
      await client.until(/^\* OK .*\r\n/)
      assert.match(await client.command('a LOGIN ann@example.com secret'), /^a OK/m)
      client.destroy()
      const put = await box.admin.put('bob@example.com', 'one')
      assert.equal(put.status, 200, put.body)
      assert.equal((await stat(premises.at('mappings'))).uid, NOBODY)
      assert.deepEqual(await box.stop(), { code: 0, signal: null })
      await premises.empty()
    })
  }

  it('is refused where the mapping file could not be replaced later', async () => {
    await using premises = await Premises.make()
    for (const name of ['', 'cert.pem', 'key.pem', 'token']) await chown(premises.at(name), NOBODY, NOBODY)
    await rm(premises.at('mappings'))
    await writeFile(premises.at('mappings'), '', { mode: 0o644 })
    await chown(premises.at('mappings'), NOBODY, 0)
    const { exit, log } = await refused(premises, premises.config({ server: { threads: 1, user: 'nobody' } }))
    assert.deepEqual(exit, { code: 2, signal: null })
    assert.match(log, /mappings: must belong to the user/)
  })
})

/** Primary and workers: user, group and supplementary groups, and no capability left in any thread. */
async function everybodyIsNobody(box: Signalbox): Promise<void> {
  const pids = [box.pid, ...box.workers().values()]
  assert.equal(pids.length, 3)
  for (const pid of pids) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m, `process ${pid}`)
    assert.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m)
    assert.match(status, /^Groups:\t65534 *$/m)
    assert.match(status, /^CapEff:\t0+$/m)
  }
}

async function stubServer(): Promise<StubImap & AsyncDisposable> {
  const stub = await StubImap.start({ name: 'one', tls: 'plain' })
  return Object.assign(stub, { [Symbol.asyncDispose]: () => stub.stop() })
}
