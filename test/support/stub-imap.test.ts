import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { makeAuthority } from './certificates.ts'
import { StubImap } from './stub-imap.ts'
import { WireClient } from './wire-client.ts'

describe('the stub server', () => {
  it('answers a login and names itself', async () => {
    const stub = await StubImap.start({ name: 'one', tls: 'plain' })
    const client = await WireClient.connect({ port: stub.port })
    await client.until(/^\* OK \[CAPABILITY .*one\r\n/)
    assert.match(await client.command('a LOGIN u p'), /a OK .*welcome to one/)
    assert.match(await client.command('b NOOP'), /\* OK this is one/)
    assert.equal(stub.logins, 1)
    client.destroy()
    await stub.stop()
  })

  it('stalls in a phase until it is released, and closes or resets when told', async () => {
    const stub = await StubImap.start({ name: 'one', tls: 'plain', refuses: ['bad'], script: { login: 'stall' } })
    const client = await WireClient.connect({ port: stub.port })
    client.send('a AUTHENTICATE PLAIN AHUAYmFk\r\n')
    await stub.until((at) => at.stalling === 1)
    assert.doesNotMatch(client.received, /a NO/)
    stub.release()
    await client.until(/a NO .*one says no\r\n/)
    stub.set('login', 'reset')
    client.send('b LOGIN u p\r\n')
    await client.untilClosed()
    stub.set('greeting', 'close')
    const second = await WireClient.connect({ port: stub.port })
    await second.untilClosed()
    assert.equal(second.received, '')
    await stub.stop()
  })

  it('speaks TLS both ways', async () => {
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost'] })
    const implicit = await StubImap.start({ name: 'one', tls: 'implicit', certificate })
    const a = await WireClient.connect({ port: implicit.port, ca: authority.cert })
    await a.until(/\* OK .*one\r\n/)
    a.destroy()
    await implicit.stop()
    const starttls = await StubImap.start({ name: 'two', tls: 'starttls', certificate })
    const b = await WireClient.connect({ port: starttls.port })
    await b.until(/STARTTLS\] two\r\n/)
    await b.command('a STARTTLS')
    await b.startTls(authority.cert)
    assert.match(await b.command('b LOGIN u p'), /welcome to two/)
    b.destroy()
    await starttls.stop()
  })
})
