import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { before, test } from 'node:test'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { createInboundTls } from '../../src/tls/server.ts'
import type { InboundTls } from '../../src/tls/inbound.ts'
import { makeSelfSigned } from '../support/certificates.ts'
import { eventually } from '../support/settled.ts'
import { Peer } from '../support/socket-pair.ts'
import { tlsConfigOf } from '../support/tls-config.ts'
import { sessionRig } from './rig.ts'
import type { SessionRig } from './rig.ts'

let tls: InboundTls

before(async () => {
  tls = createInboundTls(tlsConfigOf(), randomBytes(48), await makeSelfSigned({ names: ['localhost'] }))
})

async function secured(rig: SessionRig): Promise<Peer> {
  const raw = rig.client.socket
  raw.removeAllListeners('data')
  const socket: TLSSocket = connect({ socket: raw, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  return new Peer(socket)
}

test('after STARTTLS the dialogue goes on encrypted, and the login says so', async () => {
  const rig = await sessionRig({ tls })
  rig.client.send('STARTTLS\n')
  await eventually(() => rig.client.received === 'HELLO\nGO\n', 'the go-ahead')
  const client = await secured(rig)
  client.send('LOGIN a secret\n')
  await eventually(() => rig.box.source.open.length === 1, 'resolve')
  await rig.box.source.answer('a', 'one')
  await eventually(() => rig.dials.length === 1, 'dial')
  const [dial] = rig.dials
  assert.ok(dial)
  const backend = await dial.succeed()
  await eventually(() => backend.replaying, 'replay')
  backend.accept()
  await eventually(() => client.received === 'OK welcome\n', 'let in')
  assert.equal(rig.facts[0]?.secure, true)
  const content = randomBytes(1_000_000)
  client.socket.end(content)
  await eventually(() => backend.server.ended, 'all of it')
  assert.ok(backend.server.bytes.equals(content))
  backend.server.socket.end()
  const { bytesIn } = await rig.ends()
  assert.equal(bytesIn, content.length)
})

test('with TLS from the first byte on the greeting is encrypted; a client that leaves or stalls in the handshake is closed', async () => {
  const rig = await sessionRig({ tls, listener: { tls: 'implicit' } })
  const client = await secured(rig)
  await eventually(() => client.received === 'HELLO\n', 'the greeting')
  client.send('QUIT\n')
  assert.equal((await rig.ends()).reason, 'logout')
  await eventually(() => client.ended, 'the end')
  assert.equal(client.received, 'HELLO\nBYE\n')

  const leaves = await sessionRig({ tls, listener: { tls: 'implicit' } })
  leaves.client.socket.resetAndDestroy()
  assert.equal((await leaves.ends()).error?.side, 'client')

  const stalls = await sessionRig({ tls, listener: { tls: 'implicit' } })
  stalls.box.clock.advance(30_000)
  assert.equal((await stalls.ends()).error?.code, 'CLIENT_TIMEOUT')
})

test('a kick cannot miss a session in its handshake: the end of the instance closes it without plain words', async () => {
  for (const mode of ['implicit', 'starttls'] as const) {
    const rig = await sessionRig({ tls, listener: { tls: mode } })
    if (mode === 'starttls') {
      rig.client.send('STARTTLS\n')
      await eventually(() => rig.client.received.endsWith('GO\n'), 'the go-ahead')
    }
    const before = rig.client.received
    await rig.end('all')
    assert.equal((await rig.ends()).reason, 'shutdown')
    await eventually(() => rig.client.gone, 'closed')
    assert.equal(rig.client.received, before)
  }
})

test('plaintext that lies in the socket behind STARTTLS ends the connection and is never used', async () => {
  let handshakes = 0
  const counting: InboundTls = {
    accept: (socket, cancel) => {
      handshakes++
      return tls.accept(socket, cancel)
    },
  }
  const rig = await sessionRig({ tls: counting })
  await eventually(() => rig.client.received === 'HELLO\n', 'the greeting')
  // Two pieces, so that the dialogue sees nothing behind the command.
  rig.near.pause()
  rig.client.send('STARTTLS\n')
  await eventually(() => rig.near.readableLength === 9, 'the command')
  rig.client.send('LOGIN evil x\n')
  await eventually(() => rig.near.readableLength > 9, 'what lies behind it')
  rig.near.resume()
  assert.equal((await rig.ends()).error?.code, 'CLIENT_PROTOCOL')
  assert.equal(handshakes, 0)
  assert.equal(rig.box.source.asked, 0)
})

test('plaintext that arrives after the go-ahead instead of a handshake ends the connection and is never used', async () => {
  const rig = await sessionRig({ tls })
  rig.client.send('STARTTLS\n')
  await eventually(() => rig.client.received.endsWith('GO\n'), 'the go-ahead')
  rig.client.send('LOGIN evil x\n')
  assert.equal((await rig.ends()).error?.code, 'CLIENT_TLS')
  assert.equal(rig.box.source.asked, 0)
})
