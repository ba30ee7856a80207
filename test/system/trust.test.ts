/**
 * What a backend trusts the proxy with, and whether a client can get at it: real Postfix and Dovecot that take XCLIENT and IMAP's ID
 * from 127.0.0.1, and clients elsewhere whom a balancer announces. Whoever has logged in tries to be somebody else.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { stringify } from 'smol-toml'
import { headerOf } from '../support/behind-proxy.ts'
import { makeAuthority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { freePorts } from '../support/ports.ts'
import { startPostfix } from '../support/postfix.ts'
import type { Postfix } from '../support/postfix.ts'
import { skipWithout } from '../support/programs.ts'
import { MAIN, Signalbox } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

const PROTOCOLS = ['submission', 'imap', 'pop3', 'managesieve', 'smtp'] as const
type Listener = (typeof PROTOCOLS)[number]
/** Accounts, each at the destination of its name. */
const USERS = ['address', 'named', 'untold', 'dovecot', 'silent', 'header', 'victim']
const REPLY = /^\d{3} .*\r\n/m
const THEFT = 'XCLIENT ADDR=198.51.100.1 LOGIN=victim@example.com'

describe('what backends trust the proxy with', { skip: skipWithout('dovecot', 'pop3-login', 'managesieve-login', 'submission-login', 'lmtp', 'postfix') }, () => {
  let temporary: Temporary
  let dovecot: Dovecot
  let postfix: Postfix
  let box: Signalbox
  const ports = new Map<Listener, number>()
  let document: (passthrough: number, untold: number) => string

  before(async () => {
    temporary = await makeTemporary('trust', 0o755)
    const at = (file: string): string => join(temporary.path, file)
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost'] })
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('mappings'), USERS.map((user) => `${user}@example.com\t${user === 'victim' ? 'silent' : user}\n`).join(''))
    const free = await freePorts(PROTOCOLS.length)
    PROTOCOLS.forEach((name, index) => ports.set(name, free[index] ?? 0))
    const users = Object.fromEntries(USERS.map((user) => [`${user}@example.com`, 'secret']))
    const authSocket = at('auth')
    dovecot = await startDovecot({ name: 'real', users, certificate, services: { authSocket, relay: ports.get('smtp') ?? 0 } })
    postfix = await startPostfix({ certificate, authSocket, lmtpPort: dovecot.ports?.lmtp.starttls ?? 0 })
    const { imap, pop3, sieve, submission } = dovecot.ports?.login ?? assert.fail('Dovecot serves them all')
    const behindBalancer = { proxy_protocol: 'required', proxy_trusted: ['127.0.0.1/32'] }
    const destination = (forwarding: string, tls: string, protocol: Readonly<Record<string, number>>): object => ({
      host: '127.0.0.1',
      tls_server_name: 'localhost',
      tls_ca: at('ca.pem'),
      allow_plaintext_auth: true,
      forwarding,
      protocol: Object.fromEntries(Object.entries(protocol).map(([name, port]) => [name, { port, tls: name === 'smtp' ? 'plain' : tls }])),
    })
    const all = { imap: imap.starttls, pop3: pop3.starttls, managesieve: sieve.starttls, submission: submission.starttls }
    document = (passthrough, untold) =>
      stringify({
        // None is given up for what happens here: what is asked must be answered by a backend.
        server: { threads: 1, shutdown_grace: '1s', log_format: 'json', host_down_threshold: 500 },
        listener: Object.fromEntries(
          PROTOCOLS.map((protocol) => [protocol, { protocol, bind: [`127.0.0.1:${ports.get(protocol)}`], tls: 'plain', ...(protocol === 'smtp' ? {} : behindBalancer) }]),
        ),
        destination: {
          address: destination('xclient', 'starttls', { submission: postfix.ports.xclientStarttls }),
          named: destination('xclient', 'starttls', { submission: postfix.ports.namedStarttls }),
          untold: destination('none', 'starttls', { submission: untold }),
          dovecot: destination('xclient', 'starttls', all),
          silent: destination('none', 'starttls', all),
          // Ports that expect no header.
          header: destination('proxy', 'plain', all),
          relay: destination('none', 'plain', { smtp: passthrough }),
        },
        routing: { default_destination: 'silent', smtp_passthrough_destination: 'relay' },
        mapping: { source: 'file', file: { path: at('mappings') } },
        capabilities: Object.fromEntries(['imap', 'pop3', 'managesieve', 'submission'].map((name) => [name, { allow_plain_auth_without_tls: true }])),
        limits: { auth_failure_delay: '10ms' },
        log: { accounts: 'full' },
      })
    box = await Signalbox.start({ directory: temporary.path, config: document(postfix.ports.starttls, postfix.ports.xclientStarttls) })
  })
  after(async () => {
    // Absent when starting failed: the servers must go all the same.
    await (box as Signalbox | undefined)?.stop()
    await (postfix as Postfix | undefined)?.stop()
    await (dovecot as Dovecot | undefined)?.stop()
    await (temporary as Temporary | undefined)?.remove()
  })

  const plain = (user: string): string => Buffer.from(`\0${user}@example.com\0secret`).toString('base64')

  /** A client whom a balancer announces. */
  async function open(listener: Listener, address: string): Promise<WireClient> {
    const client = await WireClient.connect({ port: ports.get(listener) ?? 0 })
    client.send(headerOf(address))
    return client
  }

  async function say(client: WireClient, line: string, pattern = REPLY): Promise<string> {
    client.send(`${line}\r\n`)
    return client.until(pattern)
  }

  /** A submission client, as far as the answer to its login. */
  async function submit(user: string, address: string): Promise<readonly [WireClient, string]> {
    const client = await open('submission', address)
    await client.until(REPLY)
    await say(client, 'EHLO laptop')
    return [client, await say(client, `AUTH PLAIN ${plain(user)}`)]
  }

  /** Logs in, tries to become the victim, sends a mail; what Postfix logged of whom it had. */
  async function steal(user: string, address: string, sender: string): Promise<string> {
    const [client, answer] = await submit(user, address)
    assert.match(answer, /^235 /)
    assert.doesNotMatch(await say(client, 'EHLO laptop'), /XCLIENT/)
    assert.match(await say(client, THEFT), /^(550 5\.7\.0|502 5\.5\.1) /)
    assert.match(await say(client, `MAIL FROM:<${sender}@example.com>`), /^250 /)
    assert.match(await say(client, 'RCPT TO:<victim@example.com>'), /^250 /)
    assert.match(await say(client, 'DATA'), /^354 /)
    assert.match(await say(client, `Subject: ${sender}\r\n\r\nx\r\n.`), /^250 /)
    await say(client, 'QUIT')
    client.destroy()
    return postfix.log()
  }

  it('Postfix that trusts an address: its clients are themselves and nobody else', async () => {
    const log = await steal('address', '203.0.113.66', 'first')
    assert.match(log, /client=unknown\[203\.0\.113\.66\], sasl_method=PLAIN, sasl_username=address@example\.com/)
  })

  it('an address that Postfix can’t take leaves the client without one, and without the proxy’s rights', async () => {
    const log = await steal('address', '2001:db8::66', 'second')
    assert.match(log, /client=unknown\[unknown\], sasl_method=PLAIN, sasl_username=address@example\.com/)
    const line = await box.line(({ event }) => event === 'client_address_lost')
    assert.equal(line['destination'], 'address')
  })

  it('a client with the trusted address itself has none of its rights through the proxy', async () => {
    await steal('address', '127.0.0.1', 'third')
  })

  it('Postfix that trusts a host name: the client doesn’t keep the proxy’s', async () => {
    const log = await steal('named', '203.0.113.67', 'fourth')
    assert.match(log, /client=unknown\[203\.0\.113\.67\], sasl_method=PLAIN, sasl_username=named@example\.com/)
    assert.doesNotMatch(log, /client=localhost\[203\./)
    assert.doesNotMatch(log, /sasl_username=victim/)
  })

  it('no login where the client isn’t announced and would inherit XCLIENT', async () => {
    const [client, answer] = await submit('untold', '203.0.113.68')
    assert.match(answer, /^454 4\.7\.0 /)
    client.destroy()
    assert.doesNotMatch(await postfix.log(), /sasl_username=untold/)
  })

  for (const user of ['dovecot', 'silent']) {
    it(`Dovecot takes no XCLIENT behind a login: ${user}`, async () => {
      const [client, answer] = await submit(user, '203.0.113.69')
      assert.match(answer, /^235 /)
      assert.doesNotMatch(await say(client, 'EHLO laptop'), /XCLIENT/)
      assert.match(await say(client, THEFT), /^502 /)
      client.destroy()

      const pop = await open('pop3', '203.0.113.70')
      await pop.until(/^\+OK.*\r\n/)
      assert.match(await say(pop, `AUTH PLAIN ${plain(user)}`, /^[-+].*\r\n/), /^\+OK/)
      assert.match(await say(pop, THEFT, /^[-+].*\r\n/), /^-ERR/)
      pop.destroy()

      const sieve = await open('managesieve', '203.0.113.71')
      await sieve.until(/^OK.*\r\n/m)
      assert.match(await say(sieve, `AUTHENTICATE "PLAIN" "${plain(user)}"`, /^(OK|NO).*\r\n/m), /^OK/)
      assert.match(await say(sieve, THEFT, /^(OK|NO).*\r\n/m), /^NO/)
      sieve.destroy()

      const imap = await open('imap', '203.0.113.72')
      await imap.until(/^\* OK.*\r\n/)
      assert.match(await say(imap, `a LOGIN ${user}@example.com secret`, /^a .*\r\n/m), /^a OK/m)
      await say(imap, 'b ID ("x-originating-ip" "198.51.100.1" "x-session-id" "stolen")', /^b .*\r\n/m)
      await say(imap, 'c LOGOUT', /^c .*\r\n/m)
      imap.destroy()
      const log = await dovecot.log()
      assert.doesNotMatch(log, /198\.51\.100\.1\b|session=<stolen>/)
      assert.equal(/rip=203\.0\.113\.69\b/.test(log), true)
    })
  }

  it('a server that expects no PROXY header is nobody’s wrong password', async () => {
    for (let round = 0; round < 15; round++) {
      const imap = await open('imap', '203.0.113.80')
      await imap.until(/^\* OK.*\r\n/)
      assert.match(await say(imap, 'a LOGIN header@example.com secret', /^a .*\r\n/m), /^a NO \[UNAVAILABLE\]/m)
      imap.destroy()
      const pop = await open('pop3', '203.0.113.81')
      await pop.until(/^\+OK.*\r\n/)
      assert.match(await say(pop, `AUTH PLAIN ${plain('header')}`, /^[-+].*\r\n/), /^-ERR \[SYS\/TEMP\]/)
      pop.destroy()
      const sieve = await open('managesieve', '203.0.113.82')
      await sieve.until(/^OK.*\r\n/m)
      assert.match(await say(sieve, `AUTHENTICATE "PLAIN" "${plain('header')}"`, /^(OK|NO).*\r\n/m), /^NO \(TRYLATER\)/)
      sieve.destroy()
      const [client, answer] = await submit('header', '203.0.113.83')
      assert.match(answer, /^454 /)
      client.destroy()
    }
  })

  it('strangers get nothing of it through SMTP', async () => {
    const client = await WireClient.connect({ port: ports.get('smtp') ?? 0 })
    await client.until(REPLY)
    assert.doesNotMatch(await say(client, 'EHLO stranger'), /XCLIENT/)
    assert.match(await say(client, THEFT), /^550 5\.7\.0 /)
    client.destroy()
  })

  async function probed(passthrough: number, untold: number): Promise<readonly [number | null, string]> {
    const path = join(temporary.path, 'probed.toml')
    await writeFile(path, document(passthrough, untold).replace(/\[destination\.header\][^]*?(?=\[destination\.relay\])/, ''))
    await writeFile(join(temporary.path, 'mappings'), '')
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'check', '--probe', path], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
    return [status, stdout + stderr]
  }

  it('check --probe tells of servers whose trust in the proxy its clients would inherit', async () => {
    const [status, text] = await probed(postfix.ports.xclientStarttls, postfix.ports.starttls)
    assert.match(text, /^ {2}relay trusts this proxy with XCLIENT, and whoever connects to the smtp listener inherits that/m)
    assert.doesNotMatch(text, /not asked/)
    assert.equal(status, 1, text)
    const [, untold] = await probed(postfix.ports.starttls, postfix.ports.xclientStarttls)
    assert.match(untold, /^ {2}untold \(port \d+\): not asked: BACKEND_PROTOCOL: the backend trusts this proxy with XCLIENT, which its clients would inherit: set forwarding = "xclient"/m)
    assert.doesNotMatch(untold, /relay trusts/)
  })

  it('… and of nothing where all is as it should be', async () => {
    const [, text] = await probed(postfix.ports.starttls, postfix.ports.starttls)
    assert.match(text, /^ {2}relay \(port \d+\): PIPELINING/m)
    assert.doesNotMatch(text, /not asked|trusts/)
  })
})
