/** An instance under a service manager that waits for its word, as `Type=notify` of systemd does. */
import assert from 'node:assert/strict'
import { chmod, chown, readFile, writeFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { NotifyReceiver } from '../support/notify-receiver.ts'
import { Premises } from '../support/premises.ts'
import { skipWithout } from '../support/programs.ts'
import { silentServer } from '../support/silent-server.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const ROOT = process.getuid?.() === 0
const NOBODY = 65_534

describe('an instance that a service manager started', { skip: skipWithout('python3', 'systemd-notify') }, () => {
  for (const kind of ['path', 'abstract']) {
    it(`says when it serves, shows that it lives, and says that it ends: socket by ${kind}`, async (t) => {
      const stub = await StubImap.start({ name: 'one', tls: 'plain' })
      t.after(() => stub.stop())
      const env: NodeJS.ProcessEnv = { WATCHDOG_USEC: '500000' }
      await using premises = await Premises.make({ backend: stub.port, env })
      const socket = kind === 'path' ? premises.at('notify') : `@signalbox-test-${premises.management}-${process.pid}`
      env['NOTIFY_SOCKET'] = socket
      await using manager = await NotifyReceiver.start(socket)
      const grace = (time: string): string => premises.config({ server: { threads: 1, shutdown_grace: time, log_format: 'json' } })
      const box = await premises.start(grace('1m'))
      const ready = await manager.message('READY')
      assert.deepEqual(ready.assignments, { READY: '1' })
      assert.equal(manager.received.indexOf(ready), 0)
      const first = await manager.message('WATCHDOG')
      await manager.message('WATCHDOG', manager.received.indexOf(first) + 1)
      for (const pid of box.workers().values()) assert.doesNotMatch(await readFile(`/proc/${pid}/environ`, 'utf8'), /NOTIFY_SOCKET|WATCHDOG/)

      const client = await WireClient.connect({ port: premises.imaps, ca: premises.authority.cert })
      await client.until(/^\* OK .*\r\n/)
      assert.match(await client.command('a LOGIN ann@example.com secret'), /^a OK/m)
      // A reload is told from its beginning to its end, whatever comes of it.
      for (const [text, event] of [[grace('2m'), 'config_reloaded'], ['[server]\nthreds = 1\n', 'config_refused']] as const) {
        const [from, lines] = [manager.received.length, box.lines.length]
        await writeFile(box.path, text)
        box.signal('SIGHUP')
        const reloading = await manager.message('RELOADING', from)
        const usec = Number(reloading.assignments['MONOTONIC_USEC'])
        assert.ok(usec > ready.at && usec <= reloading.at, `${usec} of ${ready.at} to ${reloading.at}`)
        await manager.message('READY', manager.received.indexOf(reloading))
        await box.line((line) => line['event'] === event, undefined, lines)
      }
      box.signal('SIGTERM')
      const stopping = await manager.message('STOPPING')
      // Sessions go on, and so does the watchdog.
      await manager.message('WATCHDOG', manager.received.indexOf(stopping) + 1)
      assert.match(await client.command('b NOOP'), /this is one/)
      client.destroy()
      assert.deepEqual(await box.exited, { code: 0, signal: null })
      assert.equal(manager.received.filter(({ assignments }) => assignments['READY'] !== undefined).length, 3)
      assert.ok(!box.lines.some(({ event }) => event === 'notify_failed'))
    })
  }

  it('says nothing of a reload that is asked for while it starts: it would be taken for READY', async () => {
    using silent = await silentServer()
    const env: NodeJS.ProcessEnv = { WATCHDOG_USEC: '50000' }
    await using premises = await Premises.make({ env })
    env['NOTIFY_SOCKET'] = premises.at('notify')
    await using manager = await NotifyReceiver.start(premises.at('notify'))
    const mapping = { source: 'redis', file: undefined, redis: { url: `redis://127.0.0.1:${silent.port}/0` } }
    const box = await premises.launch(premises.config({ mapping }))
    // The store keeps it waiting.
    await silent.asked
    for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
      box.signal(signal)
      await box.line(({ event, signal: ignored }) => event === 'signal_ignored' && ignored === signal)
    }
    box.signal('SIGTERM')
    assert.deepEqual(await box.exited, { code: 0, signal: null })
    // In order, and all delivered before its end.
    assert.equal(manager.received.indexOf(await manager.message('STOPPING')), 0)
  })

  it('reaches it after root has been given up, too', { skip: ROOT ? false : 'needs root' }, async () => {
    const env: NodeJS.ProcessEnv = {}
    await using premises = await Premises.make({ env })
    for (const name of ['', 'cert.pem', 'key.pem', 'token', 'mappings']) await chown(premises.at(name), NOBODY, NOBODY)
    env['NOTIFY_SOCKET'] = premises.at('notify')
    await chmod(premises.directory, 0o755)
    await using manager = await NotifyReceiver.start(premises.at('notify'))
    const box = await premises.start(premises.config({ server: { threads: 1, user: 'nobody', shutdown_grace: '1s', log_format: 'json' } }))
    assert.equal((await manager.message('READY')).uid, NOBODY)
    assert.deepEqual(await box.stop(), { code: 0, signal: null })
    await manager.message('STOPPING')
  })

  it('serves and says so in the log where nobody can deliver its word', async () => {
    await using premises = await Premises.make({ env: { NOTIFY_SOCKET: '/nonexistent/notify' } })
    const box = await premises.start(premises.config({ server: { threads: 1, log_format: 'json' } }))
    const failed = await box.line(({ event }) => event === 'notify_failed')
    assert.equal(failed['message'], 'READY=1')
    assert.equal(failed['level'], 'warn')
    assert.equal((await box.admin.request('GET', '/readyz')).status, 200)
    assert.deepEqual(await box.stop(), { code: 0, signal: null })
  })
})
