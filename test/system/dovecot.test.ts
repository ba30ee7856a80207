/**
 * Two real Dovecots behind the proxy, "old" by STARTTLS and "new" by implicit TLS with a pinned certificate, and the
 * clients that people use. What the mailbox holds proves which server answered.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { makeAuthority, makeSelfSigned, pinOf } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { prepareMbsync } from '../support/mbsync.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { Rig, routesOf, serverOf } from '../support/rig.ts'
import { makeTemporary } from '../support/temporary.ts'

const run = promisify(execFile)
const SCRIPT = fileURLToPath(new URL('imaplib_client.py', import.meta.url))
const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace'].map((name) => `${name}@example.com`)

describe('two real Dovecots behind the proxy', { skip: skipWithout('dovecot') }, () => {
  let rig: Rig
  const servers: Dovecot[] = []

  before(async () => {
    const authority = await makeAuthority()
    const users = Object.fromEntries(NAMES.map((name) => [name, 'secret']))
    // The new server's certificate is good for nothing but its pin: signed by itself, for another name.
    const pinned = await makeSelfSigned({ names: ['imap.invalid'] })
    const older = await startDovecot({ name: 'old', users, certificate: await authority.issue({ names: ['localhost'] }) })
    servers.push(older)
    const newer = await startDovecot({ name: 'new', users, certificate: pinned })
    servers.push(newer)
    rig = await Rig.start({
      authority,
      destinations: {
        old: { port: older.starttlsPort, tls: 'starttls' },
        new: { port: newer.implicitPort, tls: 'implicit', keys: { tls_pinned_cert_sha256: pinOf(pinned.cert) } },
      },
      mappings: Object.fromEntries(NAMES.map((name, index) => [name, index % 2 === 0 ? 'old' : 'new'])),
      tables: { limits: { auth_failure_delay: '10ms' } },
    })
  })
  after(async () => {
    // Absent when starting failed: the servers must go all the same.
    await (rig as Rig | undefined)?.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  /** Runs the imaplib script; its facts go over standard input, its results come as JSON. */
  async function imaplib(command: string, user: string): Promise<Readonly<Record<string, unknown>>> {
    const facts = {
      imaps: rig.imaps, imap: rig.imap, ca: join(rig.directory, 'ca.pem'), user, password: 'secret', seed: randomInt(2 ** 31),
    }
    const running = run(programPath('python3'), [SCRIPT, command], { timeout: 120_000 })
    running.child.stdin?.end(JSON.stringify(facts))
    const { stdout } = await running
    const results: unknown = JSON.parse(stdout)
    assert.ok(typeof results === 'object' && results !== null)
    return { ...results }
  }

  it('lets imaplib in by LOGIN and AUTHENTICATE PLAIN, over IMAPS and STARTTLS, to the right server', { skip: skipWithout('python3') }, async () => {
    const everyWay = (server: string): object => ({ imaps_login: server, imaps_plain: server, starttls_login: server, starttls_plain: server })
    assert.deepEqual(await imaplib('logins', 'alice@example.com'), everyWay('old'))
    assert.deepEqual(await imaplib('logins', 'bob@example.com'), everyWay('new'))
  })

  it("passes on the backend's refusal and lets the client try again; takes no password before TLS", { skip: skipWithout('python3') }, async () => {
    for (const [user, server] of [['alice@example.com', 'old'], ['bob@example.com', 'new']] as const) {
      const results = await imaplib('refusals', user)
      assert.match(String(results['wrong']), /AUTHENTICATIONFAILED/)
      assert.equal(results['then'], server)
      assert.match(String(results['before_tls']), /PRIVACYREQUIRED/)
    }
  })

  it('carries IDLE: a message for one session wakes the other', { skip: skipWithout('python3') }, async () => {
    for (const user of ['carol@example.com', 'dave@example.com']) {
      const results = await imaplib('idle', user)
      assert.equal(results['before'], 1)
      assert.match(String(results['end']), /^idle1 OK/)
    }
  })

  it('carries 20 MB there and back unchanged', { skip: skipWithout('python3') }, async () => {
    for (const user of ['alice@example.com', 'bob@example.com']) {
      const results = await imaplib('large', user)
      assert.ok(Number(results['bytes']) > 20_000_000)
      assert.equal(results['received'], results['sent'])
    }
  })

  it('serves curl', { skip: skipWithout('curl') }, async () => {
    const curl = async (url: string, user: string, ...more: string[]): Promise<string> => {
      const args = ['-sS', '--cacert', join(rig.directory, 'ca.pem'), '--max-time', '30', '-u', `${user}:secret`, ...more, url]
      return (await run(programPath('curl'), args)).stdout
    }
    assert.match(await curl(`imaps://localhost:${rig.imaps}/INBOX;UID=1`, 'alice@example.com'), /You are on the old server/)
    assert.match(await curl(`imaps://localhost:${rig.imaps}/INBOX;UID=1`, 'bob@example.com'), /You are on the new server/)
    assert.match(await curl(`imap://localhost:${rig.imap}/INBOX;UID=1`, 'bob@example.com', '--ssl-reqd'), /You are on the new server/)
    assert.match(await curl(`imap://localhost:${rig.imap}/INBOX;UID=1`, 'alice@example.com', '--ssl-reqd', '--login-options', 'AUTH=LOGIN'), /You are on the old server/)
  })

  it('serves mbsync both ways', { skip: skipWithout('mbsync') }, async () => {
    for (const [user, server, tls] of [['erin@example.com', 'old', 'IMAPS'], ['frank@example.com', 'new', 'STARTTLS']] as const) {
      await using temporary = await makeTemporary('mbsync')
      const options = { directory: temporary.path, port: tls === 'IMAPS' ? rig.imaps : rig.imap, tls, user, password: 'secret', ca: rig.authority.cert }
      const mbsync = await prepareMbsync(options)
      await mbsync.sync()
      assert.match((await mbsync.messages()).join(), new RegExp(`You are on the ${server} server`))
      await mbsync.add('up', 'Subject: from below\n\nup\n')
      await mbsync.sync()
      const client = await rig.loggedIn(user)
      await client.command('a EXAMINE INBOX')
      assert.match(await client.command('b FETCH 2 BODY.PEEK[HEADER.FIELDS (SUBJECT)]'), /Subject: from below/)
      client.destroy()
    }
  })

  it('encrypts both legs', async () => {
    for (const [index, user] of ['alice@example.com', 'bob@example.com'].entries()) {
      const client = await rig.loggedIn(user)
      const log = (await servers[index]?.log()) ?? ''
      const line = log.split('\n').findLast((entry) => entry.includes('Login:') && entry.includes(user)) ?? ''
      // A login from the same host without TLS would be "secured" there.
      assert.match(line, /, TLS, session=/)
      client.destroy()
    }
  })

  it('moves an account while it idles: in force in every worker, the session ended, the next one on the new server', async () => {
    const user = 'grace@example.com'
    await routesOf(rig, user)
    // An invalidation may have been settling: only now is it surely cached everywhere.
    const warm = await routesOf(rig, user)
    assert.deepEqual(warm, [{ destination: 'old', cached: true }, { destination: 'old', cached: true }])
    const idler = await rig.loggedIn(user)
    assert.equal(await serverOf(idler), 'old')
    await idler.command('a SELECT INBOX')
    idler.send('b IDLE\r\n')
    await idler.until(/\+ /)

    const put = await rig.admin.put(user, 'new')
    assert.equal(put.status, 200, put.body)
    assert.deepEqual((await routesOf(rig, user)).map(({ destination }) => destination), ['new', 'new'])
    assert.equal(idler.closed, false)
    const kick = await rig.admin.request('POST', '/connections/kick', { identifier: user }, false)
    assert.equal(kick.body, 'kicked 1\n')
    await idler.untilClosed()

    for (let round = 0; round < 4; round++) {
      const again = await rig.loggedIn(user)
      assert.equal(await serverOf(again), 'new')
      again.destroy()
    }
    idler.destroy()
  })

  it('sends an account whose mapping is deleted to the default server', async () => {
    const user = 'dave@example.com'
    const removed = await rig.admin.request('DELETE', '/mappings', { identifier: user }, false)
    assert.equal(removed.body, 'removed\n')
    const client = await rig.loggedIn(user)
    assert.equal(await serverOf(client), 'old')
    client.destroy()
  })

  it('refuses a server whose certificate is not the pinned one, without showing it the password', async () => {
    const [, newer] = servers
    assert.ok(newer)
    await using other = await Rig.start({
      destinations: { new: { port: newer.implicitPort, tls: 'implicit', keys: { tls_pinned_cert_sha256: '0'.repeat(64) } } },
    })
    const client = await other.greeted()
    assert.match(await client.command('a LOGIN bob@example.com secret'), /^a NO \[UNAVAILABLE\]/m)
    client.destroy()
  })
})
