/**
 * Submission with what people use: swaks, curl, and clients byte by byte, to a real Dovecot (implicit TLS, told of the client by
 * XCLIENT) and a real Postfix (STARTTLS). What is sent ends in a mailbox: Postfix delivers it by LMTP.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { freePorts } from '../support/ports.ts'
import { startPostfix } from '../support/postfix.ts'
import type { Postfix } from '../support/postfix.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { Signalbox } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { startTokenServer } from '../support/token-server.ts'
import type { TokenServer } from '../support/token-server.ts'
import { WireClient } from '../support/wire-client.ts'

const run = promisify(execFile)
const ODD = 'p a"s\\s wörd='
const USERS = { 'dora@example.com': 'secret', 'paul@example.com': 'secret', 'odd@example.com': ODD }
/** Who is on which server. */
const HOMES = { 'dora@example.com': 'dovecot', 'odd@example.com': 'dovecot', 'paul@example.com': 'postfix' }
const FAILED_TOKEN = /^334 (\S+)\r\n/

describe('submission to a real Dovecot and a real Postfix', { skip: skipWithout('dovecot', 'submission-login', 'lmtp', 'postfix', 'swaks', 'curl') }, () => {
  let temporary: Temporary
  let authority: Authority
  let tokens: TokenServer
  let dovecot: Dovecot
  let postfix: Postfix
  let box: Signalbox
  let plain = 0
  let starttls = 0
  let implicit = 0

  before(async () => {
    temporary = await makeTemporary('submission', 0o755)
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const at = (file: string): string => join(temporary.path, file)
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('mappings'), Object.entries(HOMES).map((mapping) => `${mapping.join('\t')}\n`).join(''))
    const [relay = 0, ...others] = await freePorts(4)
    ;[plain = 0, starttls = 0, implicit = 0] = others
    tokens = await startTokenServer(temporary.path)
    const authSocket = at('auth')
    dovecot = await startDovecot({ name: 'dovecot', users: USERS, certificate, services: { authSocket, relay, settings: tokens.settings } })
    postfix = await startPostfix({ certificate, authSocket, lmtpPort: dovecot.ports?.lmtp.starttls ?? 0 })
    const listener = (protocol: string, port: number, tls: string): object => ({ protocol, bind: [`127.0.0.1:${port}`], tls })
    const destination = (protocol: object, forwarding: string): object => ({
      host: '127.0.0.1',
      tls_server_name: 'localhost',
      tls_ca: at('ca.pem'),
      forwarding,
      protocol,
    })
    const config = {
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json', hostname: 'proxy.example.com' },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: {
        plain: listener('submission', plain, 'plain'),
        submission: listener('submission', starttls, 'starttls'),
        submissions: listener('submission', implicit, 'implicit'),
        // Dovecot hands on here what it takes.
        smtp: listener('smtp', relay, 'plain'),
      },
      destination: {
        dovecot: destination({ submission: { port: dovecot.ports?.login.submission.implicit ?? 0, tls: 'implicit' } }, 'xclient'),
        postfix: destination({ submission: { port: postfix.ports.xclientStarttls, tls: 'starttls' } }, 'xclient'),
        relay: destination({ smtp: { port: postfix.ports.starttls, tls: 'plain' } }, 'none'),
      },
      routing: { default_destination: 'dovecot', smtp_passthrough_destination: 'relay' },
      mapping: { source: 'file', file: { path: at('mappings') } },
      capabilities: { submission: { allow_plain_auth_without_tls: true } },
      limits: { auth_failure_delay: '10ms' },
      log: { accounts: 'full' },
    }
    box = await Signalbox.start({ directory: temporary.path, config: stringify(config) })
  })
  after(async () => {
    // Absent when starting failed: the servers must go all the same.
    await (box as Signalbox | undefined)?.stop()
    await (postfix as Postfix | undefined)?.stop()
    await (dovecot as Dovecot | undefined)?.stop()
    await (tokens as TokenServer | undefined)?.stop()
    await (temporary as Temporary | undefined)?.remove()
  })

  let mails = 0

  /** Waits until the mail of that number lies in a mailbox. */
  async function delivered(number: number): Promise<void> {
    for (let tries = 0; !(await dovecot.log()).includes(`msgid=<mail-${number}@test>: saved mail to INBOX`); tries++) {
      assert.ok(tries < 300, `mail ${number} was not delivered: ${(await postfix.log()).slice(-2_000)}`)
      await systemClock.sleep(50)
    }
  }

  /** Sends a mail with swaks over the plain listener; gives the dialogue. */
  async function swaks(mechanism: string, user: string, password: string, source: string): Promise<string> {
    const number = ++mails
    const { stdout } = await run(programPath('swaks'), [
      '--server', '127.0.0.1', '--port', String(plain), '--local-interface', source, '--helo', 'pc of dora',
      '--auth', mechanism, '--auth-user', user, '--auth-password', password,
      '--from', user, '--to', user, '--header', `Message-Id: <mail-${number}@test>`,
    ], { timeout: 60_000 })
    await delivered(number)
    return stdout
  }

  /** A client on the listener with implicit TLS that has said EHLO. */
  async function greeted(): Promise<WireClient> {
    const client = await WireClient.connect({ port: implicit, ca: authority.cert })
    await client.until(/^220 proxy\.example\.com ESMTP Signalbox\r\n/)
    client.send('EHLO [127.0.0.1]\r\n')
    assert.match(await client.until(/^250 .*\r\n/m), /AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2/)
    return client
  }

  async function say(client: WireClient, line: string, pattern: RegExp): Promise<string> {
    client.send(`${line}\r\n`)
    return client.until(pattern)
  }

  const base64 = (text: string): string => Buffer.from(text).toString('base64')

  it('takes mail from swaks by AUTH LOGIN and AUTH PLAIN, and the servers see where it came from', async () => {
    assert.match(await swaks('LOGIN', 'dora@example.com', 'secret', '127.0.2.1'), / AUTH LOGIN\n.* 334 VXNlcm5hbWU6\n/)
    await swaks('PLAIN', 'paul@example.com', 'secret', '127.0.2.2')
    assert.match(await dovecot.log(), /submission-login: Info: Login: user=<dora@example\.com>.* rip=127\.0\.2\.1,/)
    assert.match(await postfix.log(), /client=\S+\[127\.0\.2\.2\], sasl_method=PLAIN, sasl_username=paul@example\.com/)
  })

  it('takes passwords with spaces, quotes, backslashes and bytes above ASCII', async () => {
    await swaks('LOGIN', 'odd@example.com', ODD, '127.0.2.3')
    await swaks('PLAIN', 'odd@example.com', ODD, '127.0.2.4')
  })

  it('takes mail from curl with a bearer token, over implicit TLS and STARTTLS', async () => {
    for (const [url, options] of [
      [`smtps://localhost:${implicit}`, 'AUTH=XOAUTH2'],
      [`smtp://localhost:${starttls}`, 'AUTH=OAUTHBEARER'],
    ] as const) {
      const number = ++mails
      const mail = join(temporary.path, 'mail')
      await writeFile(mail, `Message-Id: <mail-${number}@test>\r\nSubject: x\r\n\r\nHello.\r\n`)
      await run(programPath('curl'), [
        '--silent', '--show-error', '--ssl-reqd', '--cacert', join(temporary.path, 'ca.pem'), '--url', url, '--login-options', options,
        '--user', 'dora@example.com:', '--oauth2-bearer', 'good-dora@example.com',
        '--mail-from', 'dora@example.com', '--mail-rcpt', 'dora@example.com', '--upload-file', mail,
      ], { timeout: 60_000 })
      await delivered(number)
    }
  })

  it('passes on what Dovecot says to a token that is no good, with both mechanisms, and lets the client try again', async () => {
    const client = await greeted()
    for (const [mechanism, message] of [
      ['XOAUTH2', 'user=dora@example.com\u0001auth=Bearer bad\u0001\u0001'],
      ['OAUTHBEARER', 'n,a=dora@example.com,\u0001auth=Bearer bad\u0001\u0001'],
    ] as const) {
      const challenge = await say(client, `AUTH ${mechanism} ${base64(message)}`, FAILED_TOKEN)
      assert.match(Buffer.from(FAILED_TOKEN.exec(challenge)?.[1] ?? '', 'base64').toString(), /^\{.*"status":"(401|invalid_token)"/)
      assert.match(await say(client, 'AQ==', /^\d{3} .*\r\n/m), /^535 5\.7\.8 /)
    }
    assert.match(await say(client, `AUTH PLAIN ${base64('\0dora@example.com\0secret')}`, /^\d{3} .*\r\n/m), /^235 2\.7\.0 /)
    client.destroy()
  })

  it('lets a client try until its attempts are used up, and not mail before', async () => {
    const client = await greeted()
    assert.match(await say(client, 'MAIL FROM:<dora@example.com>', /^\d{3} .*\r\n/m), /^530 5\.7\.0 /)
    for (const user of ['dora', 'paul']) {
      assert.match(await say(client, `AUTH PLAIN ${base64(`\0${user}@example.com\0wrong`)}`, /^\d{3} .*\r\n/m), /^535 5\.7\.8 /)
    }
    const last = await say(client, `AUTH LOGIN ${base64('dora@example.com')}\r\n${base64('wrong')}`, /^421 .*\r\n/m)
    assert.match(last, /^421 4\.7\.0 Too many failed/)
    await client.untilClosed()
    client.destroy()
  })

  it('hands on what a hasty client sent behind its login', async () => {
    for (const user of ['dora', 'paul']) {
      const client = await greeted()
      const number = ++mails
      client.send(`AUTH PLAIN ${base64(`\0${user}@example.com\0secret`)}\r\nMAIL FROM:<${user}@example.com>\r\nRCPT TO:<${user}@example.com>\r\nDATA\r\n`)
      assert.match(await client.until(/^354 .*\r\n/m), /^354/)
      client.send(`Message-Id: <mail-${number}@test>\r\n\r\nHasty.\r\n.\r\nQUIT\r\n`)
      await client.until(/^221 .*\r\n/m)
      client.destroy()
      await delivered(number)
    }
  })

  it('says "later" while the server is away, and not that the password is wrong', async () => {
    const client = await greeted()
    await postfix.stop()
    assert.match(await say(client, `AUTH PLAIN ${base64('\0paul@example.com\0secret')}`, /^\d{3} .*\r\n/m), /^454 4\.7\.0 /)
    assert.match(await say(client, `AUTH PLAIN ${base64('\0dora@example.com\0secret')}`, /^\d{3} .*\r\n/m), /^235 /)
    client.destroy()
  })
})
