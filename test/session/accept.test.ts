/** The accept stage within a session: the PROXY header of a trusted peer, the count of the address it announces, TLS behind it. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { afterEach, before, describe, test } from 'node:test'
import type { ListenerConfig } from '../../src/config/config.ts'
import { PROXY_HEADER_WAIT_MS } from '../../src/limits.ts'
import type { AcceptedConnection } from '../../src/session/session.ts'
import { createInboundTls } from '../../src/tls/server.ts'
import type { InboundTls } from '../../src/tls/inbound.ts'
import { LINE, bytewise, headerOf, tlsBehind, writeAll } from '../support/behind-proxy.ts'
import { makeSelfSigned } from '../support/certificates.ts'
import { eventually } from '../support/settled.ts'
import { Peer } from '../support/socket-pair.ts'
import { tlsConfigOf } from '../support/tls-config.ts'
import { sessionRig } from './rig.ts'
import type { RigOptions, SessionRig } from './rig.ts'

/** The rig's peer is 192.0.2.7. */
const TRUSTED = { proxyProtocol: 'required', proxyTrusted: ['192.0.2.0/24'] } as const
const OPTIONAL = { ...TRUSTED, proxyProtocol: 'optional' } as const
const STRANGER = { proxyTrusted: ['10.0.0.0/8'] } as const

let tls: InboundTls
const open: Socket[] = []

before(async () => {
  tls = createInboundTls(tlsConfigOf(), randomBytes(48), await makeSelfSigned({ names: ['localhost'] }))
})
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

async function behind(listener: Partial<ListenerConfig>, options: RigOptions = {}): Promise<SessionRig> {
  const rig = await sessionRig({ listener, tls, ...options })
  open.push(rig.client.socket, rig.near)
  return rig
}

const greeted = (client: Peer): Promise<void> => eventually(() => client.received.startsWith('HELLO\n'), 'the greeting')
const addresses = ({ session: { connection } }: SessionRig): string =>
  `${connection.clientAddress} ${connection.clientPort} ${connection.localAddress} ${connection.localPort}`
const ANNOUNCED = '203.0.113.9 4711 198.51.100.7 993'
const OWN = '192.0.2.7 5 127.0.0.1 6'

describe('behind a PROXY header', () => {
  test('the session is that of the client it announces, in everything that is told of it', async () => {
    for (const header of [LINE, headerOf().toString('latin1')]) {
      const penalised: string[] = []
      const penalty = (address: string): Promise<number> => {
        penalised.push(address)
        return Promise.resolve(0)
      }
      const rig = await behind(TRUSTED, { services: { penalty } })
      rig.client.send(`${header}LOGIN a secret\n`)
      await greeted(rig.client)
      assert.equal(addresses(rig), ANNOUNCED)
      assert.equal(rig.session.client, '203.0.113.9')
      await eventually(() => rig.box.source.open.length === 1, 'resolve')
      await rig.box.source.answer('a', 'one')
      await eventually(() => rig.dials.length === 1, 'dial')
      const backend = await rig.dials[0]?.succeed()
      assert.ok(backend !== undefined)
      const { clientAddress, clientPort, localAddress, localPort, session, ttl, clientTls } = backend.request.client
      assert.deepEqual({ clientAddress, clientPort, localAddress, localPort, session, ttl, clientTls }, {
        clientAddress: '203.0.113.9',
        clientPort: 4711,
        localAddress: '198.51.100.7',
        localPort: 993,
        session: 's1',
        ttl: 6,
        clientTls: undefined,
      })
      await eventually(() => backend.replaying, 'replay')
      backend.refuse()
      await eventually(() => penalised.length === 1, 'a refusal is counted')
      assert.deepEqual(penalised, ['203.0.113.9'])
      rig.session.end('kicked')
      await rig.ends()
    }
  })

  test('TLS begins with what came behind the header: in one packet with it, alone, in halves, a byte at a time', async () => {
    const header = headerOf('2001:db8::9')
    const cut = (at: number) => (bytes: Buffer): readonly Buffer[] => [bytes.subarray(0, at), bytes.subarray(at)]
    for (const pieces of [(bytes: Buffer) => [bytes], cut(header.length), cut(header.length + 40), cut(header.length - 3), bytewise]) {
      const rig = await behind({ ...TRUSTED, tls: 'implicit' })
      const socket = await tlsBehind(rig.client.socket, header, pieces)
      open.push(socket)
      const client = new Peer(socket)
      await greeted(client)
      assert.equal(addresses(rig), '2001:db8::9 4711 2001:db8::7 993')
      assert.equal(rig.box.clock.pending > 0, true, 'the login has its own deadline')
      client.send('QUIT\n')
      assert.equal((await rig.ends()).reason, 'logout')
    }
  })

  test('STARTTLS goes on as it does without', async () => {
    const rig = await behind(TRUSTED)
    await writeAll(rig.client.socket, [Buffer.from(LINE), Buffer.from('STARTTLS\n')])
    await eventually(() => rig.client.received === 'HELLO\nGO\n', 'the go-ahead')
    const socket = await tlsBehind(rig.client.socket, Buffer.alloc(0), (bytes) => [bytes])
    open.push(socket)
    const client = new Peer(socket)
    client.send('QUIT\n')
    await eventually(() => client.received === 'BYE\n', 'the dialogue goes on encrypted')
    assert.equal((await rig.ends()).reason, 'logout')
  })

  test('LOCAL leaves the addresses to the socket', async () => {
    const rig = await behind(TRUSTED)
    rig.client.send(headerOf('203.0.113.9', '2001:db8::7').toString('latin1'))
    await greeted(rig.client)
    assert.equal(addresses(rig), OWN)
    rig.client.socket.destroy()
    await rig.ends()
  })

  test('a second header is what the client says, not an announcement', async () => {
    const rig = await behind(TRUSTED)
    rig.client.send(`${LINE}PROXY TCP4 192.0.2.99 198.51.100.7 1 2\nQUIT\n`)
    await eventually(() => rig.client.received === 'HELLO\nWHAT\nBYE\n', 'it is answered like any other nonsense')
    assert.equal(addresses(rig), ANNOUNCED)
    await rig.ends()
  })
})

describe('who is not trusted', () => {
  test('is closed unread where a header is required, with one and without', async () => {
    for (const text of [LINE, headerOf().toString('latin1'), 'LOGIN a secret\n', '']) {
      const rig = await behind({ ...TRUSTED, ...STRANGER })
      rig.client.send(text)
      assert.equal((await rig.ends()).error?.code, 'CLIENT_PROXY_HEADER')
      assert.equal(rig.client.received, '')
      assert.equal(addresses(rig), OWN)
    }
  })

  test('is never read as a header where one is optional: a forged one is the client\'s own words, at once', async () => {
    const rig = await behind({ ...OPTIONAL, ...STRANGER })
    await greeted(rig.client)
    rig.client.send(`${LINE.trim()}\nLOGIN a secret\n`)
    await eventually(() => rig.client.received === 'HELLO\nWHAT\n', 'it is answered like any other nonsense')
    await eventually(() => rig.box.source.open.length === 1, 'resolve')
    assert.equal(addresses(rig), OWN)
    rig.session.end('kicked')
    await rig.ends()
  })

  test('cannot get through TLS with a forged header either', async () => {
    const rig = await behind({ ...OPTIONAL, ...STRANGER, tls: 'implicit' })
    rig.client.send(headerOf().toString('latin1'))
    assert.equal((await rig.ends()).error?.code, 'CLIENT_TLS')
    assert.equal(addresses(rig), OWN)
  })

  test('is not believed on a listener that reads no headers', async () => {
    const rig = await behind({ proxyProtocol: 'off', proxyTrusted: ['192.0.2.0/24'] })
    rig.client.send(`${LINE.trim()}\nQUIT\n`)
    await eventually(() => rig.client.received === 'HELLO\nWHAT\nBYE\n', 'nonsense')
    assert.equal(addresses(rig), OWN)
    await rig.ends()
  })
})

describe('a trusted peer', () => {
  test('need not send a header where it is optional: it speaks for itself, at once or when it has been waited for', async () => {
    const speaking = await behind(OPTIONAL)
    speaking.client.send('QUIT\n')
    await eventually(() => speaking.client.received === 'HELLO\nBYE\n', 'its words are kept')
    assert.equal(addresses(speaking), OWN)
    await speaking.ends()
    const silent = await behind(OPTIONAL)
    await eventually(() => silent.box.clock.pending > 0, 'it is waited for')
    assert.equal(silent.client.received, '')
    silent.box.clock.advance(PROXY_HEADER_WAIT_MS)
    await greeted(silent.client)
    assert.equal(addresses(silent), OWN)
    silent.client.socket.destroy()
    await silent.ends()
  })

  test('is closed for a malformed header, where it is required and where it is optional', async () => {
    for (const listener of [TRUSTED, OPTIONAL]) {
      const rig = await behind(listener)
      rig.client.send('PROXY TCP4 1 2 3 4\r\nLOGIN a secret\n')
      assert.equal((await rig.ends()).error?.code, 'CLIENT_PROXY_HEADER')
      assert.equal(rig.client.received, '')
    }
  })

  test('is closed without a header where one is required', async () => {
    const rig = await behind(TRUSTED)
    rig.client.send('LOGIN a secret\n')
    assert.equal((await rig.ends()).error?.code, 'CLIENT_PROXY_HEADER')
  })

  test('has preauth_timeout for header and handshake together, however slowly it goes on', async () => {
    const rig = await behind({ ...TRUSTED, tls: 'implicit', preauthTimeout: 10_000 })
    const header = headerOf()
    for (const byte of header) {
      rig.client.socket.write(Buffer.from([byte]))
      rig.box.clock.advance(100)
    }
    await eventually(() => rig.session.connection.clientAddress === '203.0.113.9', 'the header is read')
    rig.client.socket.write(Buffer.from('160301', 'hex'))
    rig.box.clock.advance(10_000 - 100 * header.length - 1)
    assert.equal(rig.closed, undefined)
    rig.box.clock.advance(1)
    assert.equal((await rig.ends()).error?.code, 'CLIENT_TIMEOUT')
    assert.equal(rig.box.clock.pending, 0)
  })

  test('has what is left of preauth_timeout for its login', async () => {
    const rig = await behind({ ...TRUSTED, preauthTimeout: 10_000 })
    rig.box.clock.advance(6_000)
    rig.client.send(LINE)
    await greeted(rig.client)
    rig.box.clock.advance(3_999)
    assert.equal(rig.client.received, 'HELLO\n')
    rig.box.clock.advance(1)
    await eventually(() => rig.client.received === 'HELLO\nBYE timeout\n', 'the time is up')
    rig.client.socket.end()
    assert.equal((await rig.ends()).error?.code, 'CLIENT_TIMEOUT')
  })

  test('that stalls within its header is closed at the deadline, and by a kick or a shutdown', async () => {
    const late = await behind({ ...TRUSTED, preauthTimeout: 10_000 })
    late.client.send('PROXY TCP4 203.0.113.9 ')
    await eventually(() => late.near.bytesRead === 23, 'the beginning has come')
    late.box.clock.advance(10_000)
    assert.equal((await late.ends()).error?.code, 'CLIENT_TIMEOUT')
    const ended = await behind(TRUSTED)
    ended.client.send('PROXY TCP4 203.0.113.9 ')
    await eventually(() => ended.near.bytesRead === 23, 'the beginning has come')
    await ended.end('preauth')
    assert.equal((await ended.ends()).reason, 'shutdown')
  })
})

describe('the announced address is counted', () => {
  const refusing = (counted: AcceptedConnection[], answer: boolean): RigOptions => ({
    services: {
      countAddress: (connection) => {
        counted.push(connection)
        return Promise.resolve(answer)
      },
    },
  })

  test('once, before TLS and the greeting; what a trusted peer announces not counts as the peer', async () => {
    for (const [text, address] of [[LINE, '203.0.113.9'], ['PROXY UNKNOWN\r\n', '192.0.2.7']] as const) {
      const counted: AcceptedConnection[] = []
      const rig = await behind(TRUSTED, refusing(counted, true))
      rig.client.send(text)
      await greeted(rig.client)
      assert.deepEqual(counted.map(({ clientAddress, number }) => [clientAddress, number]), [[address, 1]])
      rig.client.socket.destroy()
      await rig.ends()
    }
  })

  test('not where the primary has counted the peer already', async () => {
    const counted: AcceptedConnection[] = []
    for (const listener of [{ ...OPTIONAL, ...STRANGER }, { proxyProtocol: 'off' as const }]) {
      const rig = await behind(listener, refusing(counted, false))
      await greeted(rig.client)
      rig.client.socket.destroy()
      await rig.ends()
    }
    assert.deepEqual(counted, [])
  })

  test('and told that it has too many connections, in clear only', async () => {
    for (const [listener, words] of [[TRUSTED, '421 full\r\n'], [{ ...TRUSTED, tls: 'implicit' as const }, '']] as const) {
      const rig = await behind(listener, {
        ...refusing([], false),
        profile: (config) => ({
          listener: config,
          protocol: { kind: 'passthrough', name: 'smtp', tooBusy: Buffer.from('421 full\r\n'), unavailable: Buffer.alloc(0) },
          destination: 'one',
        }),
      })
      rig.client.send(LINE)
      await eventually(() => rig.client.ended, 'it is closed')
      assert.equal(rig.client.received, words)
      rig.client.socket.end()
      assert.equal((await rig.ends()).error?.code, 'CLIENT_TOO_MANY_CONNECTIONS')
      assert.equal(rig.session.connection.clientAddress, '203.0.113.9')
      assert.deepEqual(rig.dials, [])
    }
  })

  test('and a client that leaves, or is ended, meanwhile leaves nothing behind', async () => {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const rig = await behind(TRUSTED, { services: { countAddress: () => promise } })
    rig.client.send(LINE)
    await eventually(() => rig.session.connection.clientAddress === '203.0.113.9', 'the header is read')
    await rig.end('all')
    resolve(true)
    assert.equal((await rig.ends()).reason, 'shutdown')
    const reset = Promise.withResolvers<boolean>()
    const other = await behind(TRUSTED, { services: { countAddress: () => reset.promise } })
    other.client.send(LINE)
    await eventually(() => other.session.connection.clientAddress === '203.0.113.9', 'the header is read')
    other.near.destroy(new Error('read ECONNRESET'))
    await eventually(() => other.near.closed, 'the socket is gone')
    reset.resolve(true)
    assert.equal((await other.ends()).error?.code, 'CLIENT_CLOSED')
  })
})
