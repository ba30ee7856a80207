import { deepEqual, equal, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { proxyHeader } from '../../src/destination/proxy-header.ts'
import { readProxyHeader } from '../../src/listener/proxy-header.ts'
import type { ClientAnnouncement } from '../../src/protocol/protocol.ts'

const CLIENT: ClientAnnouncement = {
  clientAddress: '192.0.2.1',
  clientPort: 4711,
  localAddress: '198.51.100.7',
  localPort: 993,
  session: '1-a-2',
  ttl: 6,
  clientTls: 'TLSv1.3',
}

describe('the PROXY header for a backend', () => {
  it('is, byte for byte, as the protocol has it', () => {
    const expected = [
      '0d0a0d0a000d0a515549540a', // signature
      '21', // version 2, PROXY
      '11', // TCP over IPv4
      '0026', // 12 of addresses, 18 of TLS, 8 of the session
      'c0000201', // 192.0.2.1
      'c6336407', // 198.51.100.7
      '1267', // 4711
      '03e1', // 993
      '20000f', // PP2_TYPE_SSL, 15 bytes
      '01', // PP2_CLIENT_SSL
      '00000001', // no certificate was verified
      '210007', // PP2_SUBTYPE_SSL_VERSION
      Buffer.from('TLSv1.3').toString('hex'),
      '050005', // PP2_TYPE_UNIQUE_ID
      Buffer.from('1-a-2').toString('hex'),
    ]
    equal(proxyHeader(CLIENT).toString('hex'), expected.join(''))
  })

  it('says nothing of TLS where the client has none', () => {
    const header = proxyHeader({ ...CLIENT, clientTls: undefined })
    equal(header.length, 16 + 12 + 8)
    ok(!header.includes('TLS'))
  })

  it('is LOCAL where the addresses are of two families, or none', () => {
    const local = '0d0a0d0a000d0a515549540a20000000'
    equal(proxyHeader({ ...CLIENT, localAddress: '2001:db8::1' }).toString('hex'), local)
    for (const clientAddress of ['', 'unknown', '2001:db8::1']) equal(proxyHeader({ ...CLIENT, clientAddress }).toString('hex'), local)
  })

  it('is read as what was announced, for any client', () => {
    const port = fc.nat(65_535)
    const pair = fc.oneof(
      fc.tuple(fc.ipV4(), fc.ipV4()),
      fc.tuple(fc.ipV6(), fc.ipV6()).filter((both) => both.every((text) => !text.includes('.'))),
    )
    fc.assert(
      fc.property(pair, port, port, fc.string({ maxLength: 140 }), ([clientAddress, localAddress], clientPort, localPort, session) => {
        const header = proxyHeader({ ...CLIENT, clientAddress, localAddress, clientPort, localPort, session })
        const [client, local] = [ipaddr.process(clientAddress), ipaddr.process(localAddress)]
        const told = { clientAddress: client.toString(), clientPort, localAddress: local.toString(), localPort }
        const endpoints = client.kind() === local.kind() ? told : undefined
        deepEqual(readProxyHeader(header), { kind: 'header', length: header.length, endpoints })
      }),
    )
  })
})
