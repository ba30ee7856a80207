/** What signals do to an instance under sessions: who is told what, what may go on, and how it ends. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, afterEach, before, describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { systemClock } from '../../src/clock.ts'
import { ADMIN_DRAIN_MS } from '../../src/limits.ts'
import { Premises } from '../support/premises.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { Signalbox } from '../support/signalbox.ts'
import { WireClient } from '../support/wire-client.ts'

describe('an instance that is asked to end', () => {
  let stub: StubImap
  let premises: Premises
  let box: Signalbox
  const clients: WireClient[] = []

  before(async () => {
    stub = await StubImap.start({ name: 'one', tls: 'plain' })
    premises = await Premises.make({ backend: stub.port })
  })
  after(async () => {
    await (premises as Premises | undefined)?.[Symbol.asyncDispose]()
    await stub.stop()
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy()
    await box.stop('SIGKILL')
  })

  /** A grace that is much longer than a test lasts. */
  async function start(): Promise<void> {
    box = await premises.start(premises.config({ server: { threads: 2, shutdown_grace: '1m', log_format: 'json' } }))
  }

  async function greeted(): Promise<WireClient> {
    const client = await WireClient.connect({ port: premises.imaps, ca: premises.authority.cert })
    clients.push(client)
    await client.until(/^\* OK .*\r\n/)
    return client
  }

  async function loggedIn(): Promise<WireClient> {
    const client = await greeted()
    assert.match(await client.command('a LOGIN ann@example.com secret'), /^a OK/m)
    return client
  }

  it('takes leave of those who only wait, lets sessions finish, and ends with 0 when the last one is over', async () => {
    await start()
    const idle = await greeted()
    const silent = await WireClient.connect({ port: premises.imaps })
    clients.push(silent)
    const sessions = await Promise.all(Array.from({ length: 4 }, loggedIn))
    assert.equal((await box.admin.request('GET', '/readyz')).status, 200)
    box.signal('SIGTERM')
    await idle.until(/^\* BYE .*\r\n/m)
    await idle.untilClosed()
    await silent.untilClosed()
    assert.equal((await box.admin.request('GET', '/readyz')).status, 503)
    assert.equal((await box.admin.request('GET', '/healthz')).status, 200)
    await assert.rejects(WireClient.connect({ port: premises.imap }), /ECONNREFUSED/)
    for (const session of sessions) assert.match(await session.command('b NOOP'), /this is one/)
    // A change must still reach the workers that are ending.
    assert.equal((await box.admin.put('ann@example.com', 'one')).status, 200)
    for (const session of sessions) {
      await session.command('c LOGOUT')
      session.destroy()
    }
    assert.deepEqual(await box.exited, { code: 0, signal: null })
    assert.equal(box.lines.filter(({ event, reason }) => event === 'session_closed' && reason !== 'shutdown').length, 4)
    await premises.empty()
  })

  it('sends readers of events away when it begins to end, not when it has', async () => {
    await start()
    const session = await loggedIn()
    const events = box.admin.request('GET', '/events', { only: 'peer' })
    // What is asked later is answered later: by now somebody listens.
    await box.admin.request('GET', '/fleet')
    box.signal('SIGTERM')
    const { status, body } = await events
    assert.deepEqual([status, body.startsWith('retry: ')], [200, true])
    assert.equal((await box.admin.request('GET', '/readyz')).status, 503)
    assert.match(await session.command('b NOOP'), /this is one/)
  })

  /** A request of the management API whose body does not end; resolves when the API waits for the rest of it. */
  async function halfRequest(): Promise<TLSSocket> {
    const socket = connectTls({ port: premises.management, host: '127.0.0.1', servername: 'localhost', ca: premises.authority.cert })
    socket.on('error', () => {})
    const body = '{"identifier":"ann@example.com"'
    const head = ['PUT /mappings HTTP/1.1', 'Host: localhost', `Authorization: Bearer ${premises.token}`, 'Content-Type: application/json', 'Expect: 100-continue', 'Content-Length: 200']
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    await new Promise((resolve) => socket.once('data', resolve))
    socket.write(body)
    return socket
  }

  it('ends at once at the second signal, whoever is in the middle of a request', async () => {
    await start()
    const session = await loggedIn()
    const request = await halfRequest()
    box.signal('SIGTERM')
    await box.line(({ event }) => event === 'draining')
    assert.match(await session.command('b NOOP'), /this is one/)
    assert.equal(request.readyState, 'open')
    const asked = systemClock.now()
    box.signal('SIGTERM')
    await session.untilClosed()
    assert.deepEqual(await box.exited, { code: 0, signal: null })
    // It takes a tenth of the time that the request would have been given.
    assert.ok(systemClock.now() - asked < ADMIN_DRAIN_MS, 'a request was waited for')
    await premises.empty()
  })

  it('is not ended by signals that mean nothing, and opens no debugger', async () => {
    await start()
    const session = await loggedIn()
    const pids = [box.pid, ...box.workers().values()]
    // Which makes it true for a worker that has only just been forked.
    for (const pid of pids.slice(1)) assert.ok((await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').includes('--disable-sigusr1'))
    // To the workers those mean nothing that mean something to the instance.
    for (const pid of pids.slice(1)) for (const signal of ['SIGHUP', 'SIGUSR2']) process.kill(pid, signal)
    for (const pid of pids) process.kill(pid, 'SIGUSR1')
    const line = await box.line((fields) => fields['event'] === 'signal_ignored' && fields['signal'] === 'SIGUSR1')
    assert.equal(line['level'], 'warn')
    assert.match(await session.command('b NOOP'), /this is one/)
    assert.deepEqual([...box.workers().values()], pids.slice(1))
    assert.doesNotMatch(box.errors, /Debugger/)
  })
})
