/**
 * ManageSieve with a real Pigeonhole behind the proxy, by STARTTLS and told of the client by XCLIENT: clients byte by byte, with
 * every way to write a login, and what they do with their scripts.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { stringify } from 'smol-toml'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { freePorts } from '../support/ports.ts'
import { skipWithout } from '../support/programs.ts'
import { Signalbox } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { startTokenServer } from '../support/token-server.ts'
import type { TokenServer } from '../support/token-server.ts'
import { WireClient } from '../support/wire-client.ts'

const ODD = 'p a"s\\s wörd='
const USERS = { 'dora@example.com': 'secret', 'odd@example.com': ODD, 'gone@example.com': 'secret' }
const STATUS = /^(OK|NO|BYE)\b.*\r\n/m
const SCRIPT = 'require "fileinto";\r\nfileinto "{5}";\r\n'

describe('ManageSieve to a real Pigeonhole', { skip: skipWithout('dovecot', 'managesieve-login') }, () => {
  let temporary: Temporary
  let authority: Authority
  let tokens: TokenServer
  let dovecot: Dovecot
  let box: Signalbox
  let starttls = 0
  let implicit = 0

  before(async () => {
    temporary = await makeTemporary('managesieve', 0o755)
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const at = (file: string): string => join(temporary.path, file)
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('mappings'), 'gone@example.com\tgone\n')
    const [gone = 0, ...others] = await freePorts(3)
    ;[starttls = 0, implicit = 0] = others
    tokens = await startTokenServer(temporary.path)
    dovecot = await startDovecot({ name: 'dovecot', users: USERS, certificate, services: { settings: tokens.settings } })
    const destination = (port: number): object => ({
      host: '127.0.0.1',
      tls_server_name: 'localhost',
      tls_ca: at('ca.pem'),
      forwarding: 'xclient',
      protocol: { managesieve: { port, tls: 'starttls' } },
    })
    const listener = (port: number, tls: string): object => ({ protocol: 'managesieve', bind: [`127.0.0.1:${port}`], tls })
    const config = {
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json' },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: { sieve: listener(starttls, 'starttls'), sieves: listener(implicit, 'implicit') },
      destination: { dovecot: destination(dovecot.ports?.login.sieve.starttls ?? 0), gone: destination(gone) },
      routing: { default_destination: 'dovecot' },
      mapping: { source: 'file', file: { path: at('mappings') } },
      limits: { auth_failure_delay: '10ms' },
      log: { accounts: 'full' },
    }
    box = await Signalbox.start({ directory: temporary.path, config: stringify(config) })
  })
  after(async () => {
    // Absent when starting failed: the servers must go all the same.
    await (box as Signalbox | undefined)?.stop()
    await (dovecot as Dovecot | undefined)?.stop()
    await (tokens as TokenServer | undefined)?.stop()
    await (temporary as Temporary | undefined)?.remove()
  })

  /** A client on the listener with implicit TLS that has read the greeting. */
  async function greeted(from = '127.0.0.1'): Promise<WireClient> {
    const client = await WireClient.connect({ port: implicit, ca: authority.cert, from })
    await client.until(/OK "Signalbox ready"\r\n/)
    return client
  }

  async function say(client: WireClient, text: string, pattern: RegExp = STATUS): Promise<string> {
    client.send(`${text}\r\n`)
    return client.until(pattern)
  }

  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const plain = (user: string, password: string): string => base64(`\0${user}\0${password}`)
  const literal = (text: string): string => `{${Buffer.byteLength(text)}+}\r\n${text}`

  it('goes from STARTTLS to a script that is kept, told Dovecot where the client is', async () => {
    const client = await WireClient.connect({ port: starttls, from: '127.0.3.1' })
    assert.match(await client.until(/OK "Signalbox ready"\r\n/), /OK/)
    assert.match(client.received, /^"SASL" ""\r\n/m)
    await say(client, 'STARTTLS')
    await client.startTls(authority.cert)
    await client.until(/OK "TLS negotiation successful"\r\n/)
    assert.match(client.received, /"SASL" "PLAIN LOGIN OAUTHBEARER XOAUTH2"\r\n(?!.*STARTTLS)/s)
    assert.match(await say(client, `AUTHENTICATE "PLAIN" "${plain('dora@example.com', 'secret')}"`), /^OK "Logged in/)
    assert.match(await say(client, `PUTSCRIPT "mine" ${literal(SCRIPT)}`), /^OK/)
    assert.match(await say(client, 'SETACTIVE "mine"'), /^OK/)
    client.send('LISTSCRIPTS\r\nGETSCRIPT "mine"\r\nLOGOUT\r\n')
    await client.untilClosed()
    assert.ok(client.received.includes('"mine" ACTIVE\r\nOK'))
    assert.ok(client.received.includes(`{${SCRIPT.length}}\r\n${SCRIPT}\r\nOK`))
    assert.match(await dovecot.log(), /managesieve-login: Info: Login: user=<dora@example\.com>.* rip=127\.0\.3\.1,/)
    client.destroy()
  })

  it('takes odd passwords, by every way to write a login', async () => {
    const secret = plain('odd@example.com', ODD)
    const [name, password] = [base64('odd@example.com'), base64(ODD)]
    for (const login of [
      `AUTHENTICATE "PLAIN" "${secret}"`,
      `AUTHENTICATE "PLAIN" ${literal(secret)}`,
      `AUTHENTICATE "PLAIN"\r\n"${secret}"`,
      `AUTHENTICATE "PLAIN"\r\n${literal(secret)}`,
      `AUTHENTICATE "LOGIN"\r\n"${name}"\r\n${literal(password)}`,
      `AUTHENTICATE "LOGIN" "${name}"\r\n"${password}"`,
    ]) {
      const client = await greeted()
      assert.match(await say(client, login), /^OK "Logged in/, login)
      client.destroy()
    }
  })

  it('hands on what came behind a login, once it was taken', async () => {
    const client = await greeted()
    client.send(`AUTHENTICATE "PLAIN" "${plain('dora@example.com', 'wrong')}"\r\nNOOP "still here"\r\n`)
    client.send(`AUTHENTICATE "PLAIN" "${plain('dora@example.com', 'secret')}"\r\nPUTSCRIPT "hasty" ${literal(SCRIPT)}\r\nLISTSCRIPTS\r\nLOGOUT\r\n`)
    await client.untilClosed()
    assert.match(client.received, /NO .*\r\nOK \(TAG "still here"\) "Done"\r\nOK "Logged in.*"\r\nOK .*\r\n(".*"( ACTIVE)?\r\n)*"hasty"\r\n/)
    client.destroy()
  })

  it('takes a good token, and passes on what Dovecot says to a bad one', async () => {
    const client = await greeted()
    const challenged = /^"(\S+)"\r\n/m
    for (const [mechanism, message] of [
      ['XOAUTH2', 'user=dora@example.com\u0001auth=Bearer bad\u0001\u0001'],
      ['OAUTHBEARER', 'n,a=dora@example.com,\u0001auth=Bearer bad\u0001\u0001'],
    ] as const) {
      const challenge = await say(client, `AUTHENTICATE "${mechanism}" "${base64(message)}"`, challenged)
      assert.match(Buffer.from(challenged.exec(challenge)?.[1] ?? '', 'base64').toString(), /^\{.*"status":"(401|invalid_token)"/)
      assert.match(await say(client, '"AQ=="'), /^NO /)
    }
    const good = base64('user=dora@example.com\u0001auth=Bearer good-dora@example.com\u0001\u0001')
    assert.match(await say(client, `AUTHENTICATE "XOAUTH2" "${good}"`), /^OK "Logged in/)
    client.destroy()
  })

  it('lets a client try until its attempts are used up', async () => {
    const client = await greeted()
    for (let attempt = 1; attempt <= 3; attempt++) {
      assert.match(await say(client, `AUTHENTICATE "PLAIN" "${plain('dora@example.com', 'wrong')}"`), /^NO "Authentication failed/)
    }
    await client.until(/^BYE "Too many failed authentication attempts"\r\n/m)
    await client.untilClosed()
    client.destroy()
  })

  it('says "later" where a server is away, and not that the password is wrong', async () => {
    const client = await greeted()
    assert.match(await say(client, `AUTHENTICATE "PLAIN" "${plain('gone@example.com', 'secret')}"`), /^NO \(TRYLATER\) /)
    assert.match(await say(client, `AUTHENTICATE "PLAIN" "${plain('dora@example.com', 'secret')}"`), /^OK "Logged in/)
    client.destroy()
  })
})
