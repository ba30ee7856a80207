import assert from 'node:assert/strict'
import { constants, randomBytes } from 'node:crypto'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, before, test } from 'node:test'
import { createServer as createTlsServer, TLSSocket } from 'node:tls'
import { systemClock, type Clock } from '../../src/clock.ts'
import type { DestinationConfig } from '../../src/config/config.ts'
import type { DialOutcome, DialRequest } from '../../src/destination/backend.ts'
import { BackendDialer } from '../../src/destination/dialer.ts'
import { SignalboxError, type ErrorCode } from '../../src/errors.ts'
import type { LoginProtocol } from '../../src/protocol/protocol.ts'
import { TLS_SESSION_MS, TLS_SESSIONS } from '../../src/limits.ts'
import { unwire } from '../../src/wire.ts'
import { makeAuthority, makeExpired, makeSelfSigned, pinOf } from '../support/certificates.ts'
import type { Authority, Issued } from '../support/certificates.ts'
import { loginOf, requestOf, serverConfigOf, talk, talkServer } from '../support/fake-backend.ts'
import type { TalkServer, TalkServerOptions } from '../support/fake-backend.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually, openSockets } from '../support/settled.ts'

const NAME = 'mail.example.com'
let authority: Authority
let stranger: Authority
let good: Issued
let other: Issued

before(async () => {
  authority = await makeAuthority()
  stranger = await makeAuthority('Another CA')
  good = await authority.issue({ names: [NAME] })
  other = await authority.issue({ names: [NAME] })
})

const servers: TalkServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

async function listen(options: TalkServerOptions): Promise<TalkServer> {
  const server = await talkServer({ tls: 'implicit', ...options })
  servers.push(server)
  return server
}

function dialerOf(clock: Clock = systemClock, retries = 0) {
  const outcomes: string[] = []
  const report = (_destination: string, _client: string, outcome: DialOutcome): void => {
    outcomes.push(outcome.ok ? 'ok' : `${outcome.phase} ${outcome.error.code}`)
  }
  const dialer = new BackendDialer({ server: serverConfigOf({ backendConnectRetries: retries }), clock, report })
  const dial = (request: DialRequest, cancel = new AbortController().signal) => dialer.dial(request, cancel)
  return { dialer, dial, outcomes }
}

type Dial = ReturnType<typeof dialerOf>['dial']

/** Dials, logs in, and takes what the backend says, so that its session tickets have come. */
async function logIn(dial: Dial, request: DialRequest): Promise<void> {
  const backend = await dial(request)
  const outcome = await backend.replay(loginOf('ann'))
  assert.equal(outcome.kind, 'accepted')
  backend.destroy()
}

const failsWith = (code: ErrorCode) => (error: unknown) => error instanceof SignalboxError && error.code === code

const strict = (over: Partial<DestinationConfig> = {}): Partial<DestinationConfig> => ({
  ca: authority.cert,
  tlsServerName: NAME,
  allowPlaintextAuth: false,
  ...over,
})

for (const leg of ['implicit', 'starttls'] as const) {
  test(`${leg}: a certificate of the configured CA for the expected name is accepted`, async () => {
    const server = await listen({ tls: leg, context: good })
    const { dial, outcomes } = dialerOf()
    const backend = await dial(requestOf(server.port, leg, strict()))
    assert.equal((await backend.replay(loginOf('ann'))).kind, 'accepted')
    const { socket } = backend.release()
    assert.ok(socket instanceof TLSSocket && socket.authorized)
    assert.equal(socket.servername, NAME)
    assert.equal(socket.allowHalfOpen, true)
    assert.deepEqual(outcomes, ['ok'])
    socket.destroy()
  })

  test(`${leg}: a certificate that fails verification is BACKEND_CERTIFICATE, not tried again`, async () => {
    const bad: Record<string, Issued> = {
      'wrong name': await authority.issue({ names: ['elsewhere.example.com'] }),
      expired: await makeExpired(authority, NAME),
      'unknown CA': await stranger.issue({ names: [NAME] }),
      'self-signed': await makeSelfSigned({ names: [NAME] }),
    }
    for (const [what, context] of Object.entries(bad)) {
      const server = await listen({ tls: leg, context })
      const { dial, outcomes } = dialerOf(systemClock, 3)
      await assert.rejects(dial(requestOf(server.port, leg, strict())), failsWith('BACKEND_CERTIFICATE'), what)
      assert.equal(server.connections, 1, what)
      assert.deepEqual(outcomes, ['after BACKEND_CERTIFICATE'], what)
      assert.equal(server.lines.includes('LOGIN ann'), false)
      await eventually(() => server.sockets.size === 0, `the connection closed: ${what}`)
      const lax = await dialerOf().dial(requestOf(server.port, leg, strict({ allowInvalidCerts: true })))
      lax.destroy()
    }
  })

  test(`${leg}: with a pin exactly that certificate is accepted, whoever signed it`, async () => {
    const selfSigned = await makeSelfSigned({ names: ['whatever'] })
    const server = await listen({ tls: leg, context: selfSigned })
    const { dial } = dialerOf()
    await logIn(dial, requestOf(server.port, leg, strict({ pinnedCertSha256: pinOf(selfSigned.cert) })))
    const proper = await listen({ tls: leg, context: good })
    const wrong = strict({ pinnedCertSha256: pinOf(other.cert), allowInvalidCerts: true })
    await assert.rejects(dial(requestOf(proper.port, leg, wrong)), failsWith('BACKEND_CERTIFICATE'))
  })

  test(`${leg}: bytes right behind the final line survive the release, and so does the end of the stream`, async () => {
    const behind = Buffer.alloc(300_000, 'x')
    const onLogin = (socket: Socket): void => {
      socket.write('YES\n')
      setImmediate(() => socket.end(behind))
    }
    const server = await listen({ tls: leg, context: good, onLogin })
    const { dial } = dialerOf()
    const backend = await dial(requestOf(server.port, leg, strict()))
    const outcome = await backend.replay(loginOf('ann'))
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
    const { socket, early } = backend.release()
    assert.ok(socket.isPaused())
    // Nothing hears it but the wire, which has no owner.
    unwire(socket)
    for (const event of ['data', 'error', 'secureConnect', 'session', 'timeout', 'readable']) {
      assert.equal(socket.listenerCount(event), 0, event)
    }
    const chunks: Buffer[] = []
    await new Promise<void>((resolve, reject) => {
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.once('end', resolve)
      socket.once('error', reject)
      socket.resume()
    })
    const bytes = outcome.kind === 'accepted' ? outcome.bytes : Buffer.alloc(0)
    assert.equal(Buffer.concat([bytes, early, ...chunks]).toString(), `YES\n${behind.toString()}`)
    socket.destroy()
  })
}

test('a client certificate is shown where one is configured, and missed where not', async () => {
  const mine = await authority.issue({ names: ['proxy'], client: true })
  const server = await listen({ context: good, requestCert: true })
  const { dial, outcomes } = dialerOf()
  await logIn(dial, requestOf(server.port, 'implicit', strict({ clientCert: mine.cert, clientKey: mine.key })))
  await assert.rejects(dial(requestOf(server.port, 'implicit', strict())), failsWith('BACKEND_CLOSED'))
  assert.deepEqual(outcomes, ['ok', 'after BACKEND_CLOSED'])
})

test('an address as the expected name is checked and not sent as SNI', async () => {
  const byAddress = await authority.issue({ names: ['127.0.0.1'] })
  const server = await listen({ context: byAddress })
  const { dial } = dialerOf()
  const backend = await dial(requestOf(server.port, 'implicit', strict({ tlsServerName: '127.0.0.1' })))
  await backend.replay(loginOf('ann'))
  const { socket } = backend.release()
  assert.ok(socket instanceof TLSSocket)
  assert.ok(!socket.servername)
  socket.destroy()
  const wrong = strict({ tlsServerName: '127.0.0.2' })
  await assert.rejects(dial(requestOf(server.port, 'implicit', wrong)), failsWith('BACKEND_CERTIFICATE'))
})

test('a backend that does not speak TLS, closes in the handshake or offers TLS 1.1 is BACKEND_TLS, tried again', async () => {
  const plain = await listen({ tls: 'plain' })
  const closes = await listen({ tls: 'plain', take: (socket) => socket.end() })
  const resets = await listen({ tls: 'plain', take: (socket) => socket.once('data', () => socket.resetAndDestroy()) })
  const past = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  const old = await listen({ context: { ...good, ...past } })
  for (const server of [plain, closes, resets, old]) {
    const { dial, outcomes } = dialerOf(systemClock, 1)
    await assert.rejects(dial(requestOf(server.port, 'implicit', strict())), failsWith('BACKEND_TLS'))
    assert.equal(server.connections, 2)
    assert.deepEqual(outcomes, ['after BACKEND_TLS'])
  }
})

test('a handshake that never ends is BACKEND_TIMEOUT', async () => {
  const server = await listen({ tls: 'plain', take: () => {} })
  const clock = new FakeClock()
  const { dial, outcomes } = dialerOf(clock)
  const dialled = assert.rejects(dial(requestOf(server.port, 'implicit', strict())), failsWith('BACKEND_TIMEOUT'))
  await eventually(() => server.sockets.size === 1, 'the connection')
  await clock.advanceAsync(10_000)
  await dialled
  assert.deepEqual(outcomes, ['connecting BACKEND_TIMEOUT'])
  await eventually(() => server.sockets.size === 0, 'the connection closed')
})

test('cancelling during the upgrade leaves no socket open', async () => {
  await eventually(() => openSockets() === 0, 'a clean start')
  const server = await listen({
    tls: 'plain',
    take: (socket) => {
      socket.write('HELLO\n')
      socket.once('data', () => socket.write('GO\n'))
    },
  })
  const { dial, outcomes } = dialerOf()
  const cancel = new AbortController()
  const reason = new SignalboxError('KICKED', 'kicked')
  const request = requestOf(server.port, 'starttls', strict())
  const dialled = assert.rejects(dial(request, cancel.signal), (error) => error === reason)
  // The ClientHello is the second thing that the backend reads.
  await eventually(() => [...server.sockets].some((socket) => socket.bytesRead > 100), 'the handshake')
  cancel.abort(reason)
  await dialled
  await eventually(() => openSockets() === 0, 'both ends closed')
  assert.deepEqual(outcomes, [])
})

test('a backend that does not announce STARTTLS gets no login, whatever its dialogue makes of it', async () => {
  const server = await listen({ tls: 'plain' })
  const { dial, outcomes } = dialerOf()
  const careless: LoginProtocol = { ...talk, backend: (port, options) => talk.backend(port, { ...options, startTls: false }) }
  const request = requestOf(server.port, 'starttls', strict(), { protocol: careless })
  await assert.rejects(dial(request), failsWith('BACKEND_PLAINTEXT'))
  assert.deepEqual(server.lines, [])
  assert.deepEqual(outcomes, ['after BACKEND_PLAINTEXT'])
})

// ---- resumption ----

test('the second login resumes the session of the first, TLS 1.3 and 1.2, and all at once as well', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    const server = await listen({ context: { ...good, maxVersion } })
    const { dial } = dialerOf()
    const request = requestOf(server.port, 'implicit', strict())
    await logIn(dial, request)
    for (let i = 0; i < 5; i++) await logIn(dial, request)
    await Promise.all(Array.from({ length: 8 }, () => logIn(dial, request)))
    assert.deepEqual(server.resumed, [false, ...new Array<boolean>(13).fill(true)], maxVersion)
  }
})

test('as many sessions are kept as there is room for; one more, and the oldest goes', async (t) => {
  // With session identifiers instead of tickets the server sees which one it is offered.
  const issuedIds: string[] = []
  const offered: number[] = []
  const stored = new Map<string, Buffer>()
  const server = createTlsServer({ ...good, maxVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_TICKET }, (socket) => {
    socket.on('error', () => {})
    socket.write('HELLO there\n')
    socket.on('data', (chunk: Buffer) => void (/LOGIN/.test(chunk.toString()) && socket.write('YES\n')))
  })
  server.on('newSession', (id: Buffer, data: Buffer, done: () => void) => {
    issuedIds.push(id.toString('hex'))
    stored.set(id.toString('hex'), data)
    done()
  })
  server.on('resumeSession', (id: Buffer, done: (error: Error | null, data: Buffer | null) => void) => {
    // A client of TLS 1.3 that has none to offer sends one that it has made up (RFC 8446, appendix D.4).
    if (stored.has(id.toString('hex'))) offered.push(issuedIds.indexOf(id.toString('hex')))
    done(null, stored.get(id.toString('hex')) ?? null)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const { dial } = dialerOf()
  const request = requestOf((server.address() as AddressInfo).port, 'implicit', strict())
  // All at once, so that none has anything to resume yet.
  const backends = await Promise.all(Array.from({ length: TLS_SESSIONS + 1 }, () => dial(request)))
  for (const backend of backends) backend.destroy()
  assert.equal(issuedIds.length, TLS_SESSIONS + 1)
  for (let more = 0; more < TLS_SESSIONS + 1; more++) await logIn(dial, request)
  // Each but the last is offered once, that one again. Handshakes that run at once may end in any order: how many different ones counts.
  assert.equal(offered.length, TLS_SESSIONS + 1)
  assert.equal(new Set(offered).size, TLS_SESSIONS)
})

test('a session is of use for its own destination, port and TLS configuration only', async () => {
  const context = { ...good, ticketKeys: randomBytes(48) }
  const server = await listen({ context })
  const sameKeys = await listen({ context })
  const { dial } = dialerOf()
  await logIn(dial, requestOf(server.port, 'implicit', strict()))
  await logIn(dial, requestOf(server.port, 'implicit', strict({ name: 'two' })))
  await logIn(dial, requestOf(sameKeys.port, 'implicit', strict()))
  assert.deepEqual([server.resumed, sameKeys.resumed], [[false, false], [false]])
  await logIn(dial, requestOf(server.port, 'implicit', strict()))
  assert.deepEqual(server.resumed, [false, false, true])
})

test('a session does not carry a server past a pin that a reload brings', async () => {
  const server = await listen({ context: good })
  const { dial } = dialerOf()
  await logIn(dial, requestOf(server.port, 'implicit', strict()))
  const pinned = requestOf(server.port, 'implicit', strict({ pinnedCertSha256: pinOf(other.cert) }))
  await assert.rejects(dial(pinned), failsWith('BACKEND_CERTIFICATE'))
  // And not at a second try either: nothing was kept of the handshake that failed. A resumed one would have passed.
  await assert.rejects(dial(pinned), failsWith('BACKEND_CERTIFICATE'))
  assert.deepEqual(server.resumed, [false])
})

test('no session is kept from a handshake that failed the pin, TLS 1.2 included', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    const impostor = await listen({ context: { ...other, maxVersion } })
    const { dial } = dialerOf()
    const request = requestOf(impostor.port, 'implicit', strict({ pinnedCertSha256: pinOf(good.cert) }))
    // A session that was kept would be resumed at the second try, and that shows no certificate to find fault with.
    for (let i = 0; i < 3; i++) await assert.rejects(dial(request), failsWith('BACKEND_CERTIFICATE'))
    assert.ok(!impostor.resumed.includes(true), maxVersion)
    assert.equal(impostor.connections, 3)
  }
})

test('a server that took the place of another with the same name is looked at anew', async () => {
  const first = await listen({ context: good })
  const { dial } = dialerOf()
  const destination = strict({ pinnedCertSha256: pinOf(good.cert) })
  await logIn(dial, requestOf(first.port, 'implicit', destination))
  await first.close()
  const second = await listen({ context: other, port: first.port })
  await assert.rejects(dial(requestOf(first.port, 'implicit', destination)), failsWith('BACKEND_CERTIFICATE'))
  assert.ok(!second.resumed.includes(true))
})

test('sessions are dropped when pin, CA, name or trust change, and kept when nothing does', async () => {
  const server = await listen({ context: good })
  const changes: [Partial<DestinationConfig>, boolean][] = [
    [{}, true],
    [{ sourceIps: ['127.0.0.1'] }, true],
    [{ pinnedCertSha256: pinOf(good.cert) }, false],
    [{ ca: `${authority.cert}\n${stranger.cert}` }, false],
    [{ allowInvalidCerts: true }, false],
  ]
  for (const [change, resumed] of changes) {
    const { dial, dialer } = dialerOf()
    const request = requestOf(server.port, 'implicit', strict())
    await logIn(dial, request)
    const again = requestOf(server.port, 'implicit', strict(change))
    dialer.reconfigure(serverConfigOf(), [again.destination])
    await logIn(dial, again)
    assert.equal(server.resumed.at(-1), resumed, Object.keys(change).join())
  }
})

test('a destination that was removed and came back begins without sessions', async () => {
  const server = await listen({ context: good })
  const { dial, dialer } = dialerOf()
  const config = { ...strict() }
  await logIn(dial, requestOf(server.port, 'implicit', config))
  dialer.reconfigure(serverConfigOf(), [])
  await logIn(dial, requestOf(server.port, 'implicit', config))
  assert.deepEqual(server.resumed, [false, false])
})

test('an hour after it was verified a certificate is looked at again, however often the session was resumed', async () => {
  const server = await listen({ context: good })
  const clock = new FakeClock()
  const { dial } = dialerOf(clock)
  const request = requestOf(server.port, 'implicit', strict())
  await logIn(dial, request)
  clock.advance(TLS_SESSION_MS - 1)
  await logIn(dial, request)
  clock.advance(1)
  await logIn(dial, request)
  assert.deepEqual(server.resumed, [false, true, false])
})

test('a CA or client certificate that is none is a mistake of the configuration, found at the reload', async () => {
  const { dialer, dial } = dialerOf()
  const block = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'
  const broken: Partial<DestinationConfig>[] = [
    { ca: 'not a certificate' },
    { ca: `${authority.cert}\n${block}` },
    { clientCert: block, clientKey: good.key },
    { clientCert: good.cert, clientKey: other.key },
  ]
  const server = await listen({ context: good })
  for (const change of broken) {
    const request = requestOf(server.port, 'implicit', strict(change))
    assert.throws(() => dialer.reconfigure(serverConfigOf(), [request.destination]), failsWith('CONFIG_INVALID'))
    await assert.rejects(dial(request), failsWith('CONFIG_INVALID'))
  }
})
