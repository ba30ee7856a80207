import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { makeAuthority } from './certificates.ts'
import type { Authority } from './certificates.ts'
import { startDovecot } from './dovecot.ts'
import type { Dovecot } from './dovecot.ts'
import { skipWithout } from './programs.ts'
import { WireClient } from './wire-client.ts'

describe('the private Dovecot', { skip: skipWithout('dovecot') }, () => {
  let authority: Authority
  let dovecot: Dovecot

  before(async () => {
    authority = await makeAuthority()
    dovecot = await startDovecot({
      name: 'first',
      users: { 'alice@example.com': 'secret' },
      certificate: await authority.issue({ names: ['localhost', '127.0.0.1'] }),
    })
  })
  after(() => dovecot.stop())

  it('takes a login over implicit TLS and shows the message that names it', async () => {
    const client = await WireClient.connect({ port: dovecot.implicitPort, ca: authority.cert })
    assert.match(await client.until(/\* OK .*\r\n/), /first server/)
    assert.match(await client.command('a LOGIN alice@example.com secret'), /a OK/)
    await client.command('b SELECT INBOX')
    assert.match(await client.command('c FETCH 1 BODY[]'), /You are on the first server\./)
    client.destroy()
  })

  it('takes a login over STARTTLS, none without, and no wrong password', async () => {
    // From the server's own address Dovecot takes passwords without TLS, from another one it doesn't.
    const client = await WireClient.connect({ port: dovecot.starttlsPort, from: '127.0.0.2' })
    await client.until(/\* OK .*\r\n/)
    assert.match(await client.command('a LOGIN alice@example.com secret'), /a NO \[PRIVACYREQUIRED\]/)
    await client.command('b STARTTLS')
    await client.startTls(authority.cert)
    assert.match(await client.command('c LOGIN alice@example.com wrong'), /c NO \[AUTHENTICATIONFAILED\]/)
    assert.match(await client.command('d LOGIN alice@example.com secret'), /d OK/)
    client.destroy()
  })

  it('shows what is delivered behind its back', async () => {
    await dovecot.deliver('alice@example.com', 'Subject: second\n\nMore.\n')
    const client = await WireClient.connect({ port: dovecot.implicitPort, ca: authority.cert })
    await client.command('a LOGIN alice@example.com secret')
    assert.match(await client.command('b SELECT INBOX'), /\* 2 EXISTS/)
    client.destroy()
  })
})
