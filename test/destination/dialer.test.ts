import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { afterEach, test } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import type { DialOutcome, DialRequest } from '../../src/destination/backend.ts'
import { BackendDialer, type DialerOptions } from '../../src/destination/dialer.ts'
import { AddressBook, type Address } from '../../src/destination/dns.ts'
import { SignalboxError, type ErrorCode } from '../../src/errors.ts'
import { BACKEND_RETRY_MS } from '../../src/limits.ts'
import type { LoginProtocol, PassthroughProtocol } from '../../src/protocol/protocol.ts'
import { flow, own } from '../../src/wire.ts'
import { eventually, openSockets } from '../support/settled.ts'
import { loginOf, requestOf, serverConfigOf, talk, talkServer } from '../support/fake-backend.ts'
import type { TalkServer, TalkServerOptions } from '../support/fake-backend.ts'
import { FakeClock } from '../support/fake-clock.ts'

const servers: TalkServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})

async function listen(options: TalkServerOptions = {}): Promise<TalkServer> {
  const server = await talkServer(options)
  servers.push(server)
  return server
}

function dialerOf(options: Partial<DialerOptions> = {}) {
  const outcomes: DialOutcome[] = []
  const dialer = new BackendDialer({
    server: serverConfigOf({ backendConnectRetries: 0 }),
    clock: systemClock,
    report: (_destination, _client, outcome) => outcomes.push(outcome),
    random: () => 0.5,
    ...options,
  })
  const dial = (request: DialRequest, cancel = new AbortController().signal) => dialer.dial(request, cancel)
  return { dialer, dial, outcomes }
}

function shown(outcomes: readonly DialOutcome[]): string[] {
  return outcomes.map((outcome) => (outcome.ok ? 'ok' : `${outcome.phase} ${outcome.error.code}`))
}

const failsWith = (code: ErrorCode) => (error: unknown) => error instanceof SignalboxError && error.code === code

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = await talkServer()
  await server.close()
  return server.port
}

test('a backend that greets is ready, and an accepted login is a success reported once', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const backend = await dial(requestOf(server.port))
  assert.deepEqual(outcomes, [])
  const outcome = await backend.replay(loginOf('ann'))
  assert.equal(outcome.kind, 'accepted')
  assert.deepEqual(shown(outcomes), ['ok'])
  const { socket } = backend.release()
  socket.destroy()
  assert.deepEqual(shown(outcomes), ['ok'])
  assert.deepEqual(server.lines, ['LOGIN ann'])
})

test('a refused login is a success of the backend', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const backend = await dial(requestOf(server.port))
  const outcome = await backend.replay(loginOf('bad'))
  assert.equal(outcome.kind === 'refused' ? outcome.refusal.text?.toString() : '', 'NO never')
  assert.deepEqual(shown(outcomes), ['ok'])
  backend.destroy()
  backend.destroy()
  await eventually(() => server.sockets.size === 0, 'the connection closed')
  assert.deepEqual(shown(outcomes), ['ok'])
})

test('a challenge goes to the client and its answer back, then the login is decided', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const backend = await dial(requestOf(server.port))
  const first = await backend.replay(loginOf('ask'))
  assert.equal(first.kind === 'challenge' ? first.challenge.toString() : '', 'why')
  assert.deepEqual(shown(outcomes), ['ok'])
  const second = await backend.respond(Buffer.from('because'))
  assert.equal(second.kind, 'accepted')
  assert.deepEqual(shown(outcomes), ['ok'])
  backend.destroy()
})

test('bytes right behind the final line survive the release, and so does the end of the stream', async () => {
  const behind = Buffer.alloc(300_000, 'x')
  const server = await listen({
    onLogin: (socket) => {
      socket.write('YES\n')
      setImmediate(() => socket.end(behind))
    },
  })
  const { dial } = dialerOf()
  const backend = await dial(requestOf(server.port))
  const outcome = await backend.replay(loginOf('ann'))
  assert.ok(outcome.kind === 'accepted')
  // Time for the kernel and the socket to take in as much as they like while nobody reads.
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  const { socket, early } = backend.release()
  assert.equal(socket.allowHalfOpen, true)
  // Nothing hears it but the wire, which has no owner.
  for (const event of ['data', 'readable']) assert.equal(socket.listenerCount(event), 0, event)
  for (const event of ['error', 'close', 'timeout', 'drain', 'connect']) assert.equal(socket.listenerCount(event), 1, event)
  const text = await received(socket)
  assert.equal(Buffer.concat([outcome.bytes, early, text]).toString(), `YES\n${behind.toString()}`)
  assert.equal(socket.writable, true)
  socket.destroy()
})

async function received(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  await new Promise<void>((resolve, reject) => {
    own(socket, { onData: (chunk) => chunks.push(chunk), onEnd: resolve, onError: reject, onClose() {} })
    flow(socket)
  })
  return Buffer.concat(chunks)
}

test('bytes that came with the final line are in its answer', async () => {
  const server = await listen({ onLogin: (socket) => socket.write('YES\n* more\n') })
  const { dial } = dialerOf()
  const backend = await dial(requestOf(server.port))
  const outcome = await backend.replay(loginOf('ann'))
  assert.equal(outcome.kind === 'accepted' ? outcome.bytes.toString() : '', 'YES\n* more\n')
  backend.destroy()
})

test('a refused connection is BACKEND_CONNECT, tried again, and counts as connecting once', async () => {
  const port = await freePort()
  const clock = new FakeClock()
  const { dial, outcomes } = dialerOf({ clock, server: serverConfigOf({ backendConnectRetries: 2 }) })
  const dialled = dial(requestOf(port))
  const ended = assert.rejects(dialled, failsWith('BACKEND_CONNECT'))
  for (let tries = 0; tries < 2; tries++) {
    // The deadline and the pause.
    await eventually(() => clock.pending === 2, 'a pause before the next try')
    assert.deepEqual(outcomes, [])
    clock.advance(BACKEND_RETRY_MS - 1)
    assert.equal(clock.pending, 2, 'it is not over')
    clock.advance(1)
  }
  await ended
  assert.deepEqual(shown(outcomes), ['connecting BACKEND_CONNECT'])
  assert.equal(clock.pending, 0)
})

test('a try after a failure finds a backend that has come back', async () => {
  const port = await freePort()
  const clock = new FakeClock()
  const { dial, outcomes } = dialerOf({ clock, server: serverConfigOf({ backendConnectRetries: 1 }) })
  const dialled = dial(requestOf(port))
  await eventually(() => clock.pending === 2, 'a pause before the next try')
  await listen({ port })
  clock.advance(BACKEND_RETRY_MS)
  const backend = await dialled
  backend.destroy()
  assert.deepEqual(outcomes, [])
})

test('a greeting that says busy is tried again, one that makes no sense is not', async () => {
  const clock = new FakeClock()
  const busy = await listen({ take: (socket) => socket.write('BUSY\n') })
  const { dial, outcomes } = dialerOf({ clock, server: serverConfigOf({ backendConnectRetries: 1 }) })
  const dialled = assert.rejects(dial(requestOf(busy.port)), failsWith('BACKEND_GREETING'))
  await eventually(() => clock.pending === 2, 'a pause before the next try')
  clock.advance(BACKEND_RETRY_MS)
  await dialled
  assert.equal(busy.connections, 2)
  const odd = await listen({ take: (socket) => socket.write('WAT\n') })
  await assert.rejects(dial(requestOf(odd.port)), failsWith('BACKEND_PROTOCOL'))
  assert.equal(odd.connections, 1)
  assert.deepEqual(shown(outcomes), ['after BACKEND_GREETING', 'after BACKEND_PROTOCOL'])
})

test('no pause is begun that would end behind the deadline', async () => {
  const clock = new FakeClock()
  const server = serverConfigOf({ backendConnectRetries: 5, backendTimeout: BACKEND_RETRY_MS })
  const { dial, outcomes } = dialerOf({ clock, server })
  await assert.rejects(dial(requestOf(await freePort())), failsWith('BACKEND_CONNECT'))
  assert.deepEqual(shown(outcomes), ['connecting BACKEND_CONNECT'])
})

test('a backend that accepts and says nothing is BACKEND_TIMEOUT at the deadline and no sooner', async () => {
  const server = await listen({ take: () => {} })
  const clock = new FakeClock()
  const { dial, outcomes } = dialerOf({ clock })
  let over = false
  const dialled = assert.rejects(dial(requestOf(server.port)), failsWith('BACKEND_TIMEOUT')).then(() => (over = true))
  await eventually(() => server.sockets.size === 1, 'the connection')
  await clock.advanceAsync(9_999)
  assert.equal(over, false)
  await clock.advanceAsync(1)
  await dialled
  assert.deepEqual(shown(outcomes), ['connecting BACKEND_TIMEOUT'])
  await eventually(() => server.sockets.size === 0, 'the connection closed')
  assert.equal(clock.pending, 0)
})

test('a nameserver that says nothing is BACKEND_TIMEOUT', async () => {
  const clock = new FakeClock()
  const addresses = new AddressBook(clock, () => new Promise(() => {}))
  const { dial, outcomes } = dialerOf({ clock, addresses })
  const dialled = assert.rejects(dial(requestOf(1, 'plain', { host: 'mail' })), failsWith('BACKEND_TIMEOUT'))
  await clock.advanceAsync(10_000)
  await dialled
  assert.deepEqual(shown(outcomes), ['connecting BACKEND_TIMEOUT'])
})

test('a host that does not resolve is BACKEND_DNS', async () => {
  const addresses = new AddressBook(systemClock, () => Promise.reject(new Error('no such host')))
  const { dial, outcomes } = dialerOf({ addresses })
  await assert.rejects(dial(requestOf(1, 'plain', { host: 'mail' })), failsWith('BACKEND_DNS'))
  assert.deepEqual(shown(outcomes), ['connecting BACKEND_DNS'])
})

test('a replay that is not decided in time is BACKEND_REPLAY_TIMEOUT, after connecting', async () => {
  const server = await listen({ onLogin: () => {} })
  const clock = new FakeClock()
  const { dial, outcomes } = dialerOf({ clock })
  const backend = await dial(requestOf(server.port))
  const replay = assert.rejects(backend.replay(loginOf('ann')), failsWith('BACKEND_REPLAY_TIMEOUT'))
  await eventually(() => server.lines.length === 1, 'the login')
  await clock.advanceAsync(10_000)
  await replay
  assert.deepEqual(shown(outcomes), ['after BACKEND_REPLAY_TIMEOUT'])
  await eventually(() => server.sockets.size === 0, 'the connection closed')
  assert.equal(clock.pending, 0)
})

test('a backend that closes before its greeting, the replay, its answer or the end of a challenge is BACKEND_CLOSED', async () => {
  const silent = await listen({ take: (socket) => socket.end() })
  const { dial, outcomes } = dialerOf()
  await assert.rejects(dial(requestOf(silent.port)), failsWith('BACKEND_CLOSED'))
  const greets = await listen({ take: (socket) => socket.end('HELLO\n') })
  const early = await dial(requestOf(greets.port))
  await assert.rejects(early.replay(loginOf('ann')), failsWith('BACKEND_CLOSED'))
  const ends = await listen({ onLogin: (socket) => socket.end() })
  const during = await dial(requestOf(ends.port))
  await assert.rejects(during.replay(loginOf('ann')), failsWith('BACKEND_CLOSED'))
  const resets = await listen({ onLogin: (socket) => socket.resetAndDestroy() })
  const reset = await dial(requestOf(resets.port))
  await assert.rejects(reset.replay(loginOf('ann')), failsWith('BACKEND_CLOSED'))
  const asks = await listen({ onLogin: (socket) => socket.end('ASK me\n') })
  const asked = await dial(requestOf(asks.port))
  assert.equal((await asked.replay(loginOf('ann'))).kind, 'challenge')
  await assert.rejects(asked.respond(Buffer.from('x')), failsWith('BACKEND_CLOSED'))
  // The last one had asked back: it was up, and its client may have let it wait for too long.
  assert.deepEqual(shown(outcomes), [...new Array<string>(4).fill('after BACKEND_CLOSED'), 'ok'])
})

test('a login that the backend has no mechanism for says nothing against the backend', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const request = requestOf(server.port)
  const choosy: LoginProtocol = {
    ...talk,
    backend: (port, options) => {
      const dialogue = talk.backend(port, options)
      const replay = (): void => port.trouble(new SignalboxError('BACKEND_NO_MECHANISM', 'no way to repeat it'))
      return { start: () => dialogue.start(), receive: (chunk) => dialogue.receive(chunk), secured: () => dialogue.secured(), respond: () => {}, replay, capabilities: [] }
    },
  }
  const backend = await dial({ ...request, protocol: choosy })
  await assert.rejects(backend.replay(loginOf('ann')), failsWith('BACKEND_NO_MECHANISM'))
  assert.deepEqual(shown(outcomes), ['ok'])
})

test('a connection that breaks between acceptance and release is not released', async () => {
  const server = await listen({ onLogin: (socket) => socket.write('YES\n') })
  const { dial, outcomes } = dialerOf()
  await eventually(() => openSockets() === 0, 'a clean start')
  const backend = await dial(requestOf(server.port))
  assert.equal((await backend.replay(loginOf('ann'))).kind, 'accepted')
  for (const socket of server.sockets) socket.resetAndDestroy()
  await eventually(() => openSockets() === 0, 'both ends closed')
  assert.throws(() => backend.release(), failsWith('BACKEND_CLOSED'))
  assert.deepEqual(shown(outcomes), ['ok'])
})

test('a second replay, a respond without a challenge and a release before the login are out of turn', async () => {
  const server = await listen()
  const { dial } = dialerOf()
  const backend = await dial(requestOf(server.port))
  await assert.rejects(backend.respond(undefined), failsWith('INTERNAL'))
  await backend.replay(loginOf('bad'))
  await assert.rejects(backend.replay(loginOf('ann')), failsWith('INTERNAL'))
  assert.throws(() => backend.release(), failsWith('INTERNAL'))
  backend.destroy()
  await assert.rejects(backend.replay(loginOf('ann')), failsWith('CLIENT_CLOSED'))
  assert.equal(server.lines.length, 1)
})

test('a plain leg carries no login unless it is allowed: nothing is even dialled', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const request = requestOf(server.port, 'plain', { allowPlaintextAuth: false })
  await assert.rejects(dial(request), failsWith('BACKEND_PLAINTEXT'))
  assert.equal(server.connections, 0)
  assert.deepEqual(outcomes, [])
})

test('a protocol without logins may cross a plain leg and is released without a replay', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const passthrough: PassthroughProtocol = { kind: 'passthrough', name: 'smtp', tooBusy: Buffer.alloc(0), unavailable: Buffer.alloc(0) }
  const backend = await dial(requestOf(server.port, 'plain', { allowPlaintextAuth: false }, { protocol: passthrough }))
  backend.release().socket.destroy()
  assert.deepEqual(shown(outcomes), ['ok'])
  const again = await dial(requestOf(server.port, 'plain', { allowPlaintextAuth: false }, { protocol: passthrough }))
  await assert.rejects(again.replay(loginOf('ann')), failsWith('BACKEND_PLAINTEXT'))
  assert.deepEqual(server.lines, [])
})

test('a dialogue that throws costs its own session only', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf()
  const broken: typeof talk = {
    ...talk,
    backend: (port, options) => Object.assign(talk.backend(port, options), {
      receive() {
        throw new TypeError('a defect')
      },
    }),
  }
  await assert.rejects(dial(requestOf(server.port, 'plain', {}, { protocol: broken })), failsWith('INTERNAL'))
  assert.deepEqual(outcomes, [])
})

test('the preamble goes before every other byte', async () => {
  const server = await listen()
  const { dial } = dialerOf({ preamble: ({ client }) => Buffer.from(`PROXY ${client.session}\n`) })
  const backend = await dial(requestOf(server.port))
  await backend.replay(loginOf('ann'))
  assert.deepEqual(server.lines, ['PROXY s1', 'LOGIN ann'])
  backend.destroy()
})

test('an address that leads back to us is not connected to, and says nothing against the destination', async () => {
  const server = await listen()
  const { dial, outcomes } = dialerOf({
    addresses: new AddressBook(systemClock, () => Promise.resolve(['127.0.0.2', '127.0.0.1'].map((address) => ({ address, family: 4 as const })))),
    isOurs: (address, port) => port === server.port && address === '127.0.0.2',
    server: serverConfigOf({ backendConnectRetries: 1 }),
  })
  const backend = await dial(requestOf(server.port, 'plain', { host: 'both' }))
  assert.equal(server.sockets.size, 1)
  backend.destroy()
  outcomes.length = 0
  const { dial: loop } = dialerOf({ isOurs: (_address, port) => port === server.port, report: (_destination, _client, outcome) => outcomes.push(outcome) })
  await assert.rejects(loop(requestOf(server.port)), failsWith('BACKEND_LOOP'))
  assert.deepEqual(outcomes, [])
})

test('cancelling in each phase rejects with its reason, reports nothing and leaves no socket open', async () => {
  const silent = await listen({ take: () => {} })
  const undecided = await listen({ onLogin: () => {} })
  const clock = new FakeClock()
  const addresses = new AddressBook(clock, (host) =>
    host === 'silent-dns' ? new Promise(() => {}) : Promise.resolve([{ address: '127.0.0.1', family: 4 as const }]),
  )
  const { dial, outcomes } = dialerOf({ clock, addresses, server: serverConfigOf({ backendConnectRetries: 1 }) })
  await eventually(() => openSockets() === 0, 'a clean start')
  const reason = new SignalboxError('KICKED', 'kicked')

  const phases: [string, DialRequest, () => boolean][] = [
    ['before it began', requestOf(silent.port), () => true],
    ['in DNS', requestOf(silent.port, 'plain', { host: 'silent-dns' }), () => clock.pending === 1],
    ['while connecting', requestOf(silent.port), () => openSockets() > 0],
    ['waiting for the greeting', requestOf(silent.port), () => silent.sockets.size === 1],
    ['in the TLS handshake', requestOf(silent.port, 'implicit'), () => silent.sockets.size === 1],
    ['in the pause before another try', requestOf(await freePort()), () => clock.pending === 2],
  ]
  for (const [phase, request, reached] of phases) {
    const cancel = new AbortController()
    if (phase === 'before it began') cancel.abort(reason)
    const dialled = dial(request, cancel.signal)
    const ended = assert.rejects(dialled, (error) => error === reason, phase)
    await eventually(reached, phase)
    cancel.abort(reason)
    await ended
    await eventually(() => openSockets() === 0 && silent.sockets.size === 0, `no socket after ${phase}`)
    assert.equal(clock.pending, 0, phase)
  }

  const backend = await dial(requestOf(undecided.port))
  const replay = assert.rejects(backend.replay(loginOf('ann')), (error) => error === reason)
  backend.destroy(reason)
  await replay
  await eventually(() => openSockets() === 0, 'no socket after the replay')
  assert.equal(clock.pending, 0)
  assert.deepEqual(outcomes, [])
})

test('source addresses take turns, within the family of the backend', async () => {
  const seen: (string | undefined)[] = []
  const server = await listen({
    take: (socket) => {
      seen.push(socket.remoteAddress)
      socket.write('HELLO\n')
    },
  })
  const { dial } = dialerOf()
  const request = requestOf(server.port, 'plain', { sourceIps: ['127.0.0.2', '::1', '127.0.0.3'] })
  for (let i = 0; i < 4; i++) (await dial(request)).destroy()
  assert.deepEqual(seen, ['127.0.0.2', '127.0.0.3', '127.0.0.2', '127.0.0.3'])
})

test('source addresses take turns in each family for itself, also where every dial tries both', async () => {
  const seen: (string | undefined)[] = []
  const server = await listen({
    take: (socket) => {
      seen.push(socket.remoteAddress)
      socket.write('HELLO\n')
    },
  })
  // Nobody listens on ::1 at that port: the second address of the host is dialled each time.
  const answer: Address[] = [{ address: '::1', family: 6 }, { address: '127.0.0.1', family: 4 }]
  const { dial } = dialerOf({ addresses: new AddressBook(systemClock, () => Promise.resolve(answer)) })
  const request = requestOf(server.port, 'plain', { host: 'mail', sourceIps: ['::1', '127.0.0.2', '127.0.0.3'] })
  for (let i = 0; i < 4; i++) (await dial(request)).destroy()
  assert.deepEqual(seen, ['127.0.0.2', '127.0.0.3', '127.0.0.2', '127.0.0.3'])
})

test('a family without a source address is dialled from wherever the system likes', async () => {
  const server = await listen()
  const { dial } = dialerOf()
  ;(await dial(requestOf(server.port, 'plain', { sourceIps: ['::1'] }))).destroy()
  assert.equal(server.connections, 1)
})

test('a host whose first address refuses is reached at its second', async () => {
  const server = await listen()
  const answer: Address[] = [{ address: '127.0.0.9', family: 4 }, { address: '127.0.0.1', family: 4 }]
  const { dial } = dialerOf({ addresses: new AddressBook(systemClock, () => Promise.resolve(answer)) })
  const backend = await dial(requestOf(server.port, 'plain', { host: 'mail' }))
  assert.equal((await backend.replay(loginOf('ann'))).kind, 'accepted')
  const { socket } = backend.release()
  assert.equal(socket.remoteAddress, '127.0.0.1')
  socket.destroy()
})

test('a reload changes the deadline of later dials', async () => {
  const server = await listen({ take: () => {} })
  const clock = new FakeClock()
  const { dial, dialer } = dialerOf({ clock })
  dialer.reconfigure(serverConfigOf({ backendTimeout: 1_000, backendConnectRetries: 0 }), [])
  const dialled = assert.rejects(dial(requestOf(server.port)), failsWith('BACKEND_TIMEOUT'))
  await eventually(() => server.sockets.size === 1, 'the connection')
  await clock.advanceAsync(1_000)
  await dialled
})
