/**
 * SMTP and LMTP passed through whole: a session with a real dialer, a mail server of a few words behind it, PROXY headers and
 * TLS on either leg.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { afterEach, before, describe, test } from 'node:test'
import { TLSSocket, createSecureContext } from 'node:tls'
import { systemClock } from '../../src/clock.ts'
import type { ListenerConfig } from '../../src/config/config.ts'
import type { DialOutcome, Dialer } from '../../src/destination/backend.ts'
import { BackendDialer } from '../../src/destination/dialer.ts'
import { proxyHeader } from '../../src/destination/proxy-header.ts'
import { SignalboxError } from '../../src/errors.ts'
import { readProxyHeader, type ProxyHeader } from '../../src/listener/proxy-header.ts'
import { lmtp, smtp } from '../../src/protocol/passthrough.ts'
import { createInboundTls } from '../../src/tls/server.ts'
import type { InboundTls } from '../../src/tls/inbound.ts'
import { LINE, tlsBehind } from '../support/behind-proxy.ts'
import { makeSelfSigned, type Issued } from '../support/certificates.ts'
import { testDestination, testLeg } from '../support/config.ts'
import { serverConfigOf } from '../support/fake-backend.ts'
import { eventually } from '../support/settled.ts'
import { Peer } from '../support/socket-pair.ts'
import { tlsConfigOf } from '../support/tls-config.ts'
import { sessionRig } from './rig.ts'
import type { RigOptions, SessionRig } from './rig.ts'

let certificate: Issued
let tls: InboundTls
const open: { destroy(): void }[] = []
const servers: Server[] = []

before(async () => {
  certificate = await makeSelfSigned({ names: ['localhost'] })
  tls = createInboundTls(tlsConfigOf(), randomBytes(48), certificate)
})
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy()
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))))
})

interface MailServer {
  readonly port: number
  /** What came before the first byte that isn't a header's. */
  readonly headers: ProxyHeader[]
  readonly connections: Peer[]
}

/** Greets as a mail server does, at once; behind a header and TLS where it is told so. */
async function mailServer(options: { header?: boolean; tls?: boolean } = {}): Promise<MailServer> {
  const headers: ProxyHeader[] = []
  const connections: Peer[] = []
  const greet = (raw: Socket): void => {
    const secureContext = createSecureContext({ cert: certificate.cert, key: certificate.key })
    const socket = options.tls === true ? new TLSSocket(raw, { isServer: true, secureContext }) : raw
    socket.write('220 mail.example.com\r\n')
    connections.push(new Peer(socket))
    socket.resume()
  }
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    open.push(socket)
    socket.on('error', () => {})
    if (options.header !== true) return greet(socket)
    let bytes = Buffer.alloc(0)
    const take = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk])
      const header = readProxyHeader(bytes)
      if (header.kind === 'more') return
      headers.push(header)
      socket.off('data', take)
      socket.pause()
      if (header.kind === 'header' && bytes.length > header.length) socket.unshift(bytes.subarray(header.length))
      greet(socket)
    }
    socket.on('data', take)
    socket.resume()
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, headers, connections }
}

interface Way {
  readonly port: number
  readonly leg?: 'plain' | 'implicit'
  readonly forwarding?: 'proxy' | 'none'
  readonly protocol?: typeof smtp
  readonly listener?: Partial<ListenerConfig>
  readonly services?: RigOptions['services']
}

async function through({ port, leg = 'plain', forwarding = 'none', protocol = smtp, listener, services }: Way): Promise<{ rig: SessionRig; outcomes: DialOutcome[] }> {
  const outcomes: DialOutcome[] = []
  const legs = { [protocol.name]: testLeg({ protocol: protocol.name, port, tls: leg, forwarding }) }
  // Logins may not cross this destination's plain legs: nobody logs in here.
  const destination = testDestination({ name: 'mail', allowInvalidCerts: true, allowPlaintextAuth: false, legs })
  const dialer = new BackendDialer({
    server: serverConfigOf({ backendConnectRetries: 0 }),
    clock: systemClock,
    report: (_name, _client, outcome) => outcomes.push(outcome),
    preamble: ({ leg: dialled, client }) => (dialled.forwarding === 'proxy' ? proxyHeader(client) : undefined),
  })
  const rig = await sessionRig({
    listener: { protocol: protocol.name, ...listener },
    tls,
    services: { dialer, destinationNamed: (name) => (name === 'mail' ? destination : undefined), ...services },
    profile: (config) => ({ listener: config, protocol, destination: 'mail' }),
  })
  open.push(rig.client.socket, rig.near)
  return { rig, outcomes }
}

const GREETING = '220 mail.example.com\r\n'

describe('a connection that is passed through', () => {
  test('is bridged whole, both ways, whatever is said on it, and its end is passed on', async () => {
    const server = await mailServer()
    const { rig, outcomes } = await through({ port: server.port })
    const content = randomBytes(500_000)
    await eventually(() => rig.client.received === GREETING, 'the backend greets')
    rig.client.socket.end(content)
    await eventually(() => server.connections[0]?.ended === true, 'the end is passed on')
    assert.ok(server.connections[0]?.bytes.equals(content))
    server.connections[0]?.socket.end('221 bye\r\n')
    const { login, bytesIn, bytesOut, reason } = await rig.ends()
    assert.deepEqual([bytesIn, bytesOut, reason], [content.length, GREETING.length + 9, 'client'])
    assert.deepEqual([login?.destination, login?.account, login?.mechanism], ['mail', undefined, undefined])
    assert.deepEqual(rig.told, ['passed through - mail', 'closed client'])
    assert.equal(rig.client.received, `${GREETING}221 bye\r\n`)
    assert.deepEqual(outcomes, [{ ok: true }])
  })

  test('keeps what the client says before the backend is there', async () => {
    const server = await mailServer()
    const { rig } = await through({ port: server.port })
    rig.client.send('EHLO early\r\n')
    await eventually(() => server.connections[0]?.received === 'EHLO early\r\n', 'its words arrive')
    rig.session.end('drained')
    assert.equal((await rig.ends()).reason, 'drained')
  })

  for (const clientTls of ['plain', 'implicit'] as const) {
    for (const leg of ['plain', 'implicit'] as const) {
      test(`is announced by a header ahead of everything: client ${clientTls}, backend ${leg}`, async () => {
        const server = await mailServer({ header: true, tls: leg === 'implicit' })
        const listener = { tls: clientTls, proxyProtocol: 'required', proxyTrusted: ['192.0.2.7/32'] } as const
        const { rig } = await through({ port: server.port, leg, forwarding: 'proxy', protocol: lmtp, listener })
        let client = rig.client
        if (clientTls === 'plain') client.send(LINE)
        else {
          const socket = await tlsBehind(client.socket, Buffer.from(LINE), (bytes) => [bytes])
          open.push(socket)
          client = new Peer(socket)
        }
        await eventually(() => client.received === GREETING, 'the backend greets')
        client.send('LHLO me\r\n')
        await eventually(() => server.connections[0]?.received === 'LHLO me\r\n', 'nothing but what the client said')
        const [header] = server.headers
        assert.deepEqual(header?.kind === 'header' ? header.endpoints : header, {
          clientAddress: '203.0.113.9',
          clientPort: 4711,
          localAddress: '198.51.100.7',
          localPort: 993,
        })
        // Behind the addresses: the client's TLS where it has some, and the session.
        assert.equal(header?.kind === 'header' ? header.length : 0, 16 + 12 + (clientTls === 'implicit' ? 18 : 0) + 5)
        client.socket.end()
        server.connections[0]?.socket.end()
        assert.equal((await rig.ends()).login?.secure, clientTls === 'implicit')
      })
    }
  }
})

describe('a connection that cannot be passed through', () => {
  const refused = async (way: Way, code: string): Promise<void> => {
    const { rig } = await through(way)
    await eventually(() => rig.client.ended, 'it is closed')
    assert.match(rig.client.received, /^421 4\.3\.0 .*\r\n$/)
    rig.client.socket.end()
    const { error, login } = await rig.ends()
    assert.equal(error?.code, code)
    assert.equal(login, undefined)
    assert.deepEqual(rig.told, [`unavailable - mail ${code}`, `closed error ${code}`])
  }

  test('is told so in place of a greeting', async () => {
    const server = await mailServer()
    servers.splice(0)[0]?.close()
    await refused({ port: server.port }, 'BACKEND_CONNECT')
  })

  test('nor to a destination that is marked down, taken out, or full', async () => {
    const server = await mailServer()
    await refused({ port: server.port, services: { admit: () => false } }, 'BACKEND_DOWN')
    await refused({ port: server.port, services: { places: { take: () => Promise.resolve(false), giveBack() {} } } }, 'BACKEND_FULL')
    assert.equal(server.connections.length, 0)
  })

  test('nor where the handshake fails', async () => {
    const server = await mailServer()
    await refused({ port: server.port, leg: 'implicit' }, 'BACKEND_TLS')
  })

  test('a client that leaves while it is dialled takes the dial with it', async () => {
    const { promise, reject } = Promise.withResolvers<never>()
    let cancelled: AbortSignal | undefined
    const dialer = {
      dial: (_request: unknown, cancel: AbortSignal) => {
        cancelled = cancel
        cancel.addEventListener('abort', () => reject(cancel.reason))
        return promise
      },
    }
    const { rig } = await through({ port: 1, services: { dialer } })
    await eventually(() => cancelled !== undefined, 'it is dialled')
    rig.near.destroy(new Error('read ECONNRESET'))
    assert.equal((await rig.ends()).error?.code, 'CLIENT_CLOSED')
    assert.ok(cancelled?.reason instanceof SignalboxError)
    assert.deepEqual(rig.told, ['closed error CLIENT_CLOSED'])
  })

  test('a kick or a shutdown ends it in every stage', async () => {
    let dialled = false
    const dialer: Dialer = {
      dial: (_request, cancel) =>
        new Promise((_resolve, fail) => {
          dialled = true
          cancel.addEventListener('abort', () => fail(cancel.reason))
        }),
    }
    const waiting = await through({ port: 1, services: { dialer } })
    await eventually(() => dialled, 'it is dialled')
    await waiting.rig.end('all')
    assert.equal((await waiting.rig.ends()).reason, 'shutdown')
    const server = await mailServer()
    const bridged = await through({ port: server.port })
    await eventually(() => bridged.rig.client.received === GREETING, 'the backend greets')
    await bridged.rig.end('all')
    assert.equal((await bridged.rig.ends()).reason, 'shutdown')
    await eventually(() => server.connections[0]?.gone === true, 'the backend is closed too')
  })
})
