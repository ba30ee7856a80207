import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { makeDemoCertificates } from '../../src/demo/certificates.ts'
import type { DemoCertificates } from '../../src/demo/certificates.ts'
import { DemoImapServer } from '../../src/demo/imap-server.ts'
import type { DemoImapPorts } from '../../src/demo/imap-server.ts'
import { prepareMbsync } from '../support/mbsync.ts'
import { skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

describe("the demo's mail server", () => {
  let certificates: DemoCertificates
  let server: DemoImapServer
  let ports: DemoImapPorts

  before(async () => {
    certificates = await makeDemoCertificates(Date.now())
    const users = new Map([['alice@example.com', 'secret'], ['bob@example.com', 'secret']])
    server = new DemoImapServer({ name: 'OLD server', users, cert: certificates.cert, key: certificates.key })
    ports = await server.listen()
  })
  after(() => server.close())

  async function loggedIn(user = 'alice@example.com'): Promise<WireClient> {
    const client = await WireClient.connect({ port: ports.implicit, ca: certificates.ca })
    await client.command(`l LOGIN ${user} secret`)
    return client
  }

  it('shows a message that says where one is', async () => {
    const client = await loggedIn()
    assert.match(await client.command('a SELECT INBOX'), /\* 1 EXISTS[^]*a OK \[READ-WRITE\]/)
    assert.match(await client.command('b UID FETCH 1 (FLAGS ENVELOPE BODY.PEEK[TEXT])'), /"You are on the OLD server"[^]*You are on the OLD server\./)
    client.destroy()
  })

  it('takes no login without TLS and drops what was pipelined behind STARTTLS', async () => {
    const client = await WireClient.connect({ port: ports.starttls })
    assert.match(await client.until(/\* OK .*\r\n/), /STARTTLS LOGINDISABLED/)
    assert.match(await client.command('a LOGIN alice@example.com secret'), /a NO \[PRIVACYREQUIRED\]/)
    client.send('b STARTTLS\r\nc NOOP\r\n')
    await client.until(/b OK .*\r\n/)
    await client.startTls(certificates.ca)
    assert.match(await client.command('d AUTHENTICATE PLAIN AGFsaWNlQGV4YW1wbGUuY29tAHNlY3JldA=='), /d OK/)
    assert.doesNotMatch(client.received, /c OK/)
    client.destroy()
  })

  it('refuses wrong passwords and unknown users alike', async () => {
    const client = await WireClient.connect({ port: ports.implicit, ca: certificates.ca })
    const wrong = await client.command('a LOGIN alice@example.com wrong')
    const unknown = await client.command('a LOGIN nobody@example.com secret')
    assert.match(wrong, /a NO \[AUTHENTICATIONFAILED\]/)
    assert.equal(unknown, wrong.replace(/^\* OK.*\r\n/, ''))
    client.destroy()
  })

  it('tells an idling session what another one changes', async () => {
    const idler = await loggedIn('bob@example.com')
    await idler.command('a SELECT INBOX')
    idler.send('b IDLE\r\n')
    await idler.until(/\+ idling\r\n/)
    const other = await loggedIn('bob@example.com')
    other.send('a APPEND INBOX (\\Flagged) {14+}\r\nSubject: x\r\n\r\n\r\n')
    await other.until(/a OK \[APPENDUID \d+ 2\]/)
    await idler.until(/\* 2 EXISTS\r\n/)
    await other.command('b SELECT INBOX')
    await other.command('c STORE 1 +FLAGS (\\Deleted)')
    await idler.until(/\* 1 FETCH \(FLAGS \(\\Deleted\)\)\r\n/)
    await other.command('d EXPUNGE')
    await idler.until(/\* 1 EXPUNGE\r\n/)
    idler.send('DONE\r\n')
    await idler.until(/b OK/)
    idler.destroy()
    other.destroy()
  })

  it('serves an ordinary client', { skip: skipWithout('mbsync') }, async () => {
    await using temporary = await makeTemporary('mbsync')
    const mbsync = await prepareMbsync({
      directory: temporary.path, port: ports.implicit, user: 'alice@example.com', password: 'secret', ca: certificates.ca,
    })
    await mbsync.sync()
    assert.match((await mbsync.messages()).join(), /You are on the OLD server/)
    await mbsync.add('one', 'Subject: from mbsync\n\nHello\n')
    await mbsync.sync()
    const client = await loggedIn()
    await client.command('a SELECT INBOX')
    assert.match(await client.command('b FETCH 2 BODY.PEEK[HEADER.FIELDS (SUBJECT)]'), /Subject: from mbsync/)
    client.destroy()
  })
})
