/**
 * Attacks over real sockets against the running proxy that only IMAP knows: literals, tags, PREAUTH; those that every
 * protocol withstands are in clients-wire.test.ts and backends-wire.test.ts. Everybody else is served all the while. After each test no session is left over, here or at the backend.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from '../support/certificates.ts'
import { Rig } from '../support/rig.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { StubPhase } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const PREAUTH_MS = 3_000
/** How long the proxy may take to end what it should end: the bound of the test, far above what it needs. */
const PATIENCE_MS = 20_000

describe('IMAP on a hostile wire', () => {
  let good: StubImap
  let bad: StubImap
  let rig: Rig
  const clients: WireClient[] = []

  before(async () => {
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost'] })
    good = await StubImap.start({ name: 'good', tls: 'plain', refuses: ['wrong'] })
    bad = await StubImap.start({ name: 'bad', tls: 'starttls', certificate })
    rig = await Rig.start({
      authority,
      destinations: { good: { port: good.port, tls: 'plain' }, bad: { port: bad.port, tls: 'starttls' } },
      mappings: { 'bad@example.com': 'bad' },
      listener: { preauth_timeout: `${PREAUTH_MS}ms` },
      tables: {
        limits: { auth_failure_delay: '10ms' },
        server: { backend_timeout: '20s', host_down_threshold: 0 },
      },
    })
  })
  after(async () => {
    await (rig as Rig | undefined)?.stop()
    await Promise.all([good.stop(), bad.stop()])
  })
  afterEach(async () => {
    for (const stub of [good, bad]) {
      for (const phase of ['connect', 'greeting', 'capability', 'starttls', 'login', 'command'] as const) stub.set(phase, 'answer')
      stub.release()
    }
    for (const client of clients.splice(0)) client.destroy()
    await everybodyElseIsServed()
    await nothingIsLeft()
  })

  async function plain(): Promise<WireClient> {
    const client = await WireClient.connect({ port: rig.imap })
    clients.push(client)
    return client
  }

  async function plainGreeted(): Promise<WireClient> {
    const client = await plain()
    await client.until(/^\* OK .*\r\n/)
    return client
  }

  async function greeted(): Promise<WireClient> {
    const client = await rig.greeted()
    clients.push(client)
    return client
  }

  async function everybodyElseIsServed(): Promise<void> {
    const client = await rig.loggedIn('good@example.com')
    assert.match(await client.command('z NOOP'), /this is good/)
    client.destroy()
  }

  /** No connection held by the proxy, none open at a backend. */
  async function nothingIsLeft(): Promise<void> {
    const deadline = systemClock.now() + PATIENCE_MS
    for (;;) {
      const { json, body } = await rig.admin.stats()
      const active = typeof json === 'object' && json !== null && 'active_connections' in json ? json.active_connections : undefined
      if (active === 0) break
      assert.ok(systemClock.now() < deadline, `connections left over: ${body}`)
      await systemClock.sleep(50)
    }
    for (const stub of [good, bad]) await stub.until((at) => at.connections.every((connection) => connection.closed))
  }

  async function isEnded(client: WireClient): Promise<void> {
    await client.untilClosed(PATIENCE_MS)
  }

  describe('from a client', () => {
    it('reads no password in the clear', async () => {
      const logins = good.connections.length
      const client = await plainGreeted()
      assert.match(await client.command('a LOGIN good@example.com secret'), /^a (NO|BAD) \[PRIVACYREQUIRED\]/m)
      client.send('b AUTHENTICATE PLAIN AGdvb2RAZXhhbXBsZS5jb20Ac2VjcmV0\r\n')
      assert.match(await client.until(/^b \w+ .*\r\n/m), /^b (NO|BAD)/)
      assert.equal(good.connections.length, logins)
    })

    it('bounds a line', async () => {
      const client = await greeted()
      assert.match(await client.command(`a NOOP${' x'.repeat(3_900)}`), /^a (OK|BAD)/m)
      client.send(`b NOOP ${'x'.repeat(9_000)}\r\n`)
      await isEnded(client)
      assert.match(client.received, /^\* BYE/m)
      const endless = await greeted()
      endless.send('x'.repeat(100_000))
      await isEnded(endless)
    })

    it('bounds literals, whether or not it was asked first', async () => {
      for (const opening of ['a LOGIN {70000+}\r\n', 'a LOGIN {99999999999999999999+}\r\n', `a LOGIN {4096+}\r\n${'u'.repeat(4096)} {65000+}\r\n`]) {
        const client = await greeted()
        client.send(opening)
        await isEnded(client)
        assert.match(client.received, /^\* BYE/m)
      }
      const polite = await greeted()
      polite.send('a LOGIN {70000}\r\n')
      assert.match(await polite.until(/^(a|\*) \w+ .*\r\n/m), /^(a (NO|BAD)|\* BYE)/)
    })

    it('lets no line break or NUL in a name or password through to a backend', async () => {
      const before = good.connections.length
      for (const user of ['x\r\nb LOGOUT', 'x\0y', 'x\nb LOGOUT', 'x\ry']) {
        const client = await greeted()
        client.send(`a LOGIN {${user.length}+}\r\n${user} {6+}\r\nsecret\r\n`)
        assert.match(await client.until(/^(a|\*) (NO|BAD|BYE) .*\r\n/m), /^(a|\*) (NO|BAD|BYE)/)
        const second = await greeted()
        second.send(`a LOGIN good@example.com {${user.length}+}\r\n${user}\r\n`)
        assert.match(await second.until(/^(a|\*) (NO|BAD|BYE|OK) .*\r\n/m), /^(a|\*) (NO|BAD|BYE)/)
      }
      for (const connection of good.connections.slice(before)) assert.doesNotMatch(connection.received, /\0|\nb LOGOUT|x\ry/)
    })

    it('bounds what is sent behind a login, and loses none of what is within the bound', async () => {
      good.set('login', 'stall')
      const client = await greeted()
      client.send(`a LOGIN good@example.com secret\r\n${Array.from({ length: 100 }, (_, index) => `p${index} NOOP\r\n`).join('')}`)
      await good.until((stub) => stub.stalling === 1)
      good.set('login', 'answer')
      good.release()
      await client.until(/^p99 OK/m)
      for (let index = 0; index < 100; index++) assert.match(client.received, new RegExp(`^p${index} OK`, 'm'))
    })
  })

  describe('from a backend', () => {
    /** What the client reads when it logs in there. */
    async function answer(): Promise<string> {
      const client = await greeted()
      client.send('a LOGIN bad@example.com secret\r\n')
      await client.until(/^a .*\r\n/m, PATIENCE_MS)
      return client.received
    }

    const attacks: readonly (readonly [string, StubPhase, string])[] = [
      ['greets with PREAUTH', 'greeting', '* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] already in\r\n'],
      ['greets with BYE', 'greeting', '* BYE go away\r\n'],
      ['greets with nonsense', 'greeting', 'HTTP/1.1 200 OK\r\n\r\n'],
      ['greets with an endless line', 'greeting', `* OK ${'x'.repeat(40_000)}`],
      ['does not offer STARTTLS', 'greeting', '* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n'],
    ]
    for (const [what, phase, text] of attacks) {
      it(`gets no password when it ${what}`, async () => {
        bad.connections.length = 0
        bad.set(phase, { text })
        assert.match(await answer(), /^a NO \[UNAVAILABLE\]/m)
        assert.ok(bad.connections.length > 0)
        for (const connection of bad.connections) {
          assert.doesNotMatch(connection.received, /secret|LOGIN|AUTHENTICATE/)
        }
      })
    }

    it('gets no password when it injects answers behind its STARTTLS', async () => {
      bad.connections.length = 0
      bad.set('starttls', { inject: '* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na1 OK done\r\n' })
      assert.match(await answer(), /^a NO \[UNAVAILABLE\]/m)
      for (const connection of bad.connections) assert.equal(connection.loginSeen, false)
    })

    it('is trouble, never a wrong password, when it closes or resets under the login', async () => {
      for (const action of ['close', 'reset'] as const) {
        bad.set('login', action)
        assert.match(await answer(), /^a NO \[UNAVAILABLE\]/m)
      }
    })
  })
})
