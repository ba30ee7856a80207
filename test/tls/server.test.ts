import assert from 'node:assert/strict'
import { randomBytes, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { after, afterEach, before, test } from 'node:test'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { SignalboxError } from '../../src/errors.ts'
import type { InboundTls, RenewableTls } from '../../src/tls/inbound.ts'
import { CIPHER_SUITES } from '../../src/tls/policy.ts'
import { createInboundTls } from '../../src/tls/server.ts'
import { makeAuthority, type Authority, type Issued } from '../support/certificates.ts'
import { eventually, openSockets } from '../support/settled.ts'
import { certificateOf, tlsConfigOf } from '../support/tls-config.ts'

let authority: Authority
let one: Issued
let two: Issued
let server: Server
let port: number
/** The server's ends of the connections. */
const sockets = new Set<Socket>()
/** What is done with the next connections. */
let handle: (socket: Socket) => void

before(async () => {
  authority = await makeAuthority()
  one = await authority.issue({ names: ['one.test'] })
  two = await authority.issue({ names: ['two.test'] })
  server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    handle(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as AddressInfo).port
})
after(() => server.close())
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await eventually(() => openSockets() === 0, 'a clean end')
})

function single(keys: Buffer = randomBytes(48), over: Parameters<typeof tlsConfigOf>[0] = {}): RenewableTls {
  return createInboundTls(tlsConfigOf({ certificates: [certificateOf('one', one, ['one.test'])], ...over }), keys)
}

/** Accepts the next connections with `inbound`; each greets and closes when the client does. */
function serve(inbound: InboundTls): { readonly accepted: TLSSocket[]; readonly errors: unknown[] } {
  const state = { accepted: [] as TLSSocket[], errors: [] as unknown[] }
  handle = (socket) => {
    inbound.accept(socket, new AbortController().signal).then(
      (secured) => {
        state.accepted.push(secured)
        secured.on('error', () => {})
        secured.on('end', () => secured.end())
        secured.resume()
        secured.write('hello\n')
      },
      (error: unknown) => state.errors.push(error),
    )
  }
  return state
}

interface Visit {
  readonly reused: boolean
  readonly version: string | null
  readonly cipher: string
  readonly subject: string
  readonly fingerprint: string | undefined
  readonly session: Buffer | undefined
}

/** Connects, takes the greeting and whatever tickets come before it, and leaves. */
function visit(options: ConnectionOptions = {}): Promise<Visit> {
  return new Promise((resolve, reject) => {
    let session: Buffer | undefined
    const client = connect({ port, host: '127.0.0.1', ca: authority.cert, servername: 'one.test', ...options })
    client.on('session', (data) => (session = data))
    client.on('error', reject)
    client.once('data', () => {
      const found = {
        reused: client.isSessionReused(),
        version: client.getProtocol(),
        cipher: client.getCipher().name,
        subject: String(client.getPeerX509Certificate()?.subject),
        fingerprint: client.getPeerX509Certificate()?.fingerprint256,
        session,
      }
      client.once('close', () => resolve(found))
      client.end()
    })
  })
}

const fingerprintOf = (pem: string): string => new X509Certificate(pem).fingerprint256

/** The options that offer a session. */
function offering({ session }: Visit): ConnectionOptions {
  assert.ok(session !== undefined, 'the server gave no session')
  return { session }
}

test('the socket comes encrypted, paused, half-open, and reads what the client sends', async () => {
  const inbound = single()
  const accepted = new Promise<TLSSocket>((resolve, reject) => {
    handle = (socket) => void inbound.accept(socket, new AbortController().signal).then(resolve, reject)
  })
  const client = connect({ port, host: '127.0.0.1', ca: authority.cert, servername: 'one.test' })
  client.end('all that I say')
  const secured = await accepted
  assert.ok(secured.encrypted && secured.isPaused() && secured.allowHalfOpen)
  // One for 'end' and 'error' each is the runtime's own.
  for (const event of ['secure', 'data', 'end', 'error']) {
    assert.equal(secured.listenerCount(event), event === 'end' || event === 'error' ? 1 : 0, event)
  }
  let text = ''
  secured.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await new Promise<void>((resolve) => {
    secured.once('end', resolve)
    secured.resume()
  })
  assert.equal(text, 'all that I say')
  let answer = ''
  client.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  secured.end('still heard')
  await new Promise<void>((resolve) => client.once('close', () => resolve()))
  assert.equal(answer, 'still heard')
})

test('bytes of the ClientHello that were read already and put back are part of the handshake', async () => {
  const inbound = single()
  handle = (socket) => {
    socket.once('data', (chunk: Buffer) => {
      socket.pause()
      socket.unshift(chunk)
      void inbound.accept(socket, new AbortController().signal).then((secured) => secured.end('hello\n'))
    })
    socket.resume()
  }
  const { version } = await visit()
  assert.equal(version, 'TLSv1.3')
})

test('the certificate is chosen by the name that the client asks for', async () => {
  const certificates = [certificateOf('one', one, ['one.test']), certificateOf('two', two, ['two.test'], true)]
  serve(createInboundTls(tlsConfigOf({ certificates }), randomBytes(48)))
  assert.match((await visit({ servername: 'one.test' })).subject, /one\.test/)
  assert.match((await visit({ servername: 'sub.one.test', rejectUnauthorized: false })).subject, /one\.test/)
  assert.match((await visit({ servername: 'two.test' })).subject, /two\.test/)
  assert.match((await visit({ servername: 'three.test', rejectUnauthorized: false })).subject, /two\.test/)
  assert.match((await visit({ servername: '', rejectUnauthorized: false })).subject, /two\.test/)
})

for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
  test(`${version}: a worker with the same ticket keys resumes the session of another, one with others doesn’t`, async () => {
    const keys = randomBytes(48)
    const certificates = [certificateOf('one', one, ['one.test']), certificateOf('two', two, ['two.test'], true)]
    const many = () => createInboundTls(tlsConfigOf({ certificates }), keys)
    for (const make of [() => single(keys), many]) {
      serve(make())
      const first = await visit({ maxVersion: version })
      assert.deepEqual([first.reused, first.version], [false, version])
      serve(make())
      const second = await visit({ maxVersion: version, ...offering(first) })
      assert.equal(second.reused, true)
      serve(single(randomBytes(48)))
      const third = await visit({ maxVersion: version, ...offering(first) })
      assert.equal(third.reused, false)
    }
  })
}

test('ticket keys of another length are a mistake', () => {
  assert.throws(() => single(randomBytes(47)), { code: 'CONFIG_INVALID' })
  assert.throws(() => single(randomBytes(49)), { code: 'CONFIG_INVALID' })
})

test('a certificate that is replaced serves the next handshake; what lives goes on; the others keep theirs', async () => {
  const certificates = [certificateOf('one', one, ['one.test']), certificateOf('two', two, ['two.test'], true)]
  const inbound = createInboundTls(tlsConfigOf({ certificates }), randomBytes(48))
  const { accepted } = serve(inbound)
  const living = connect({ port, host: '127.0.0.1', ca: authority.cert, servername: 'one.test' })
  await once(living, 'data')
  const renewed = await authority.issue({ names: ['one.test', 'one-more.test'] })
  inbound.change({ kind: 'certificate', certificate: certificateOf('one', renewed, ['one.test', 'one-more.test']) })
  const fingerprints = async (servername: string) => (await visit({ servername })).fingerprint
  assert.equal(await fingerprints('one.test'), fingerprintOf(renewed.cert))
  assert.equal(await fingerprints('one-more.test'), fingerprintOf(renewed.cert))
  assert.equal(await fingerprints('two.test'), fingerprintOf(two.cert))
  accepted[0]?.write('still here\n')
  assert.equal(String((await once(living, 'data'))[0]), 'still here\n')
  living.end()
  await once(living, 'close')
})

test('a replacement that cannot be used changes nothing', async () => {
  const inbound = single()
  serve(inbound)
  const broken = certificateOf('one', { cert: one.cert, key: two.key }, ['one.test'])
  assert.throws(() => inbound.change({ kind: 'certificate', certificate: broken }), { code: 'CONFIG_INVALID', message: /"one"/ })
  assert.throws(() => inbound.change({ kind: 'ticket-keys', keys: randomBytes(47) }), { code: 'CONFIG_INVALID' })
  assert.equal((await visit()).fingerprint, fingerprintOf(one.cert))
})

test('the only certificate, and the self-signed one, outlive a change of ticket keys; tickets of before cost a full handshake', async () => {
  const fallback = await authority.issue({ names: ['fallback.test'] })
  for (const inbound of [single(), createInboundTls(tlsConfigOf(), randomBytes(48), fallback)]) {
    serve(inbound)
    const options = { servername: 'one.test', rejectUnauthorized: false }
    const first = await visit(options)
    const [before, keys] = [await visit({ ...options, ...offering(first) }), randomBytes(48)]
    assert.equal(before.reused, true)
    inbound.change({ kind: 'ticket-keys', keys })
    const second = await visit({ ...options, ...offering(before.session === undefined ? first : before) })
    assert.deepEqual([second.reused, second.fingerprint], [false, first.fingerprint])
    inbound.change({ kind: 'ticket-keys', keys })
    assert.equal((await visit({ ...options, ...offering(second) })).reused, true)
  }
})

for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
  test(`${version}: a session is not offered under another name by a client that keeps to RFC 6066, and gets that name’s certificate`, async () => {
    const certificates = [certificateOf('one', one, ['one.test']), certificateOf('two', two, ['two.test'], true)]
    serve(createInboundTls(tlsConfigOf({ certificates }), randomBytes(48)))
    const first = await visit({ maxVersion: version, servername: 'one.test' })
    const second = await visit({ maxVersion: version, servername: 'two.test', ...offering(first) })
    assert.deepEqual([second.reused, second.fingerprint], [false, fingerprintOf(two.cert)])
    assert.equal((await visit({ maxVersion: version, servername: 'one.test', ...offering(first) })).reused, true)
  })
}

test('a client below the least version is CLIENT_TLS', async () => {
  const state = serve(single(undefined, { minVersion: '1.3' }))
  await assert.rejects(visit({ maxVersion: 'TLSv1.2' }))
  await eventually(() => state.errors.length === 1, 'the error')
  assert.ok(state.errors[0] instanceof SignalboxError && state.errors[0].code === 'CLIENT_TLS')
  assert.equal((await visit()).version, 'TLSv1.3')
})

test('suites that are switched off are not spoken, and every other one is', async () => {
  const kept = CIPHER_SUITES.filter(({ openssl }) => !openssl.includes('RSA'))
  for (const { openssl, version } of kept) {
    const others = CIPHER_SUITES.map((suite) => suite.openssl).filter((name) => name !== openssl)
    serve(single(undefined, { disabledCipherSuites: others }))
    const found = await visit()
    assert.deepEqual([found.cipher, found.version], [openssl, version === '1.3' ? 'TLSv1.3' : 'TLSv1.2'])
    const state = serve(single(undefined, { disabledCipherSuites: [openssl] }))
    const maxVersion = version === '1.3' ? 'TLSv1.3' : 'TLSv1.2'
    await assert.rejects(visit({ ciphers: openssl, minVersion: maxVersion, maxVersion }), openssl)
    await eventually(() => state.errors.length === 1, 'the error')
  }
})

test('the client’s order counts, unless it is to be ignored', async () => {
  const ciphers = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'
  serve(single())
  assert.equal((await visit({ ciphers })).cipher, 'TLS_AES_256_GCM_SHA384')
  serve(single(undefined, { ignoreClientOrder: true }))
  assert.equal((await visit({ ciphers })).cipher, 'TLS_AES_128_GCM_SHA256')
  const chacha = 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256'
  assert.equal((await visit({ ciphers: chacha })).cipher, 'TLS_CHACHA20_POLY1305_SHA256')
})

test('a TLS 1.2 client that asks for a renegotiation gets none', async () => {
  const state = serve(single())
  const client = connect({ port, host: '127.0.0.1', ca: authority.cert, servername: 'one.test', maxVersion: 'TLSv1.2' })
  await new Promise<void>((resolve) => client.once('data', () => resolve()))
  const renegotiated = new Promise<string>((resolve) => {
    client.once('error', () => resolve('refused'))
    client.once('close', () => resolve('refused'))
    client.renegotiate({}, (error) => resolve(error === null ? 'done' : 'refused'))
  })
  assert.equal(await renegotiated, 'refused')
  client.destroy()
  await eventually(() => state.accepted.every(({ destroyed }) => destroyed), 'the connection closed')
})

test('garbage, an early end and a reset during the handshake are CLIENT_TLS and leave no socket open', async () => {
  const behaviours: ((socket: Socket) => void)[] = [
    (socket) => socket.write('a1 LOGIN ann secret\r\n'),
    (socket) => socket.end(),
    (socket) => socket.end(Buffer.from([0x16, 0x03, 0x01])),
    (socket) => socket.resetAndDestroy(),
  ]
  for (const behave of behaviours) {
    const state = serve(single())
    const client = connectTcp({ port, host: '127.0.0.1' }, () => behave(client))
    client.on('error', () => {})
    client.resume()
    await eventually(() => state.errors.length === 1, 'the error')
    const [error] = state.errors
    assert.ok(error instanceof SignalboxError)
    assert.equal(error.code, 'CLIENT_TLS')
    client.destroy()
    await eventually(() => openSockets() === 0, 'both ends closed')
  }
})

test('cancelling ends the handshake with the reason, before and during it', async () => {
  const inbound = single()
  const reason = new SignalboxError('DRAINING', 'shutting down')
  for (const early of [true, false]) {
    const cancel = new AbortController()
    if (early) cancel.abort(reason)
    let outcome: unknown
    handle = (socket) => {
      inbound.accept(socket, cancel.signal).then(
        () => (outcome = 'accepted'),
        (error: unknown) => (outcome = error),
      )
      setImmediate(() => cancel.abort(reason))
    }
    const client = connectTcp({ port, host: '127.0.0.1' })
    client.on('error', () => {})
    client.on('end', () => client.destroy())
    client.resume()
    await eventually(() => outcome !== undefined, 'the outcome')
    assert.equal(outcome, reason)
    await eventually(() => openSockets() === 0, 'both ends closed')
  }
})

test('broken records after the handshake end the connection with an error', async () => {
  const inbound = single()
  const broken = new Promise<Error>((resolve, reject) => {
    handle = (socket) => {
      inbound.accept(socket, new AbortController().signal).then((secured) => {
        secured.once('error', resolve)
        secured.resume()
        secured.write('hello\n')
      }, reject)
    }
  })
  const raw = connectTcp({ port, host: '127.0.0.1' })
  const client = connect({ socket: raw, ca: authority.cert, servername: 'one.test' })
  client.on('error', () => {})
  await new Promise<void>((resolve) => client.once('data', () => resolve()))
  // Past OpenSSL, straight to the wire.
  writeRaw(raw, Buffer.from([0x17, 0x03, 0x03, 0x00, 0x20, ...randomBytes(32)]))
  const error = await broken
  assert.match('code' in error ? String(error.code) : '', /^ERR_SSL_/)
  client.destroy()
  raw.destroy()
})

/** The socket is taken over by its TLSSocket, but its stream still writes to the descriptor. */
function writeRaw(socket: Socket, bytes: Buffer): void {
  socket.write(bytes)
}
