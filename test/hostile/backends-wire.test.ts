/**
 * Backends that misbehave in each phase, over real sockets and in all four protocols: the client gets the temporary failure
 * of its protocol within the deadline, never an authentication error; no password leaves before TLS is up and verified; the
 * destination's health counts it; and a good backend serves everybody else all the while.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import type { DialogueProtocol } from '../../src/config/config.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { freePorts } from '../support/ports.ts'
import { Signalbox } from '../support/signalbox.ts'
import { StubSpeech } from '../support/stub-speech.ts'
import type { Misdeed, Phase } from '../support/stub-speech.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

const PROTOCOLS = ['imap', 'pop3', 'managesieve', 'submission'] as const
/** server.backend_timeout: short enough to wait for, and a bound for nothing else. */
const DEADLINE_MS = 1_000
const PATIENCE_MS = 20_000

interface Words {
  readonly greeted: RegExp
  readonly login: (user: string) => string
  readonly in: RegExp
  readonly unavailable: RegExp
  readonly refused: RegExp
  /** What a server of the protocol says when it has no time for anybody. */
  readonly busy: string
  readonly nonsense: string
}

const secret = (user: string): string => Buffer.from(`\0${user}\0secret`).toString('base64')
const WORDS: Readonly<Record<DialogueProtocol, Words>> = {
  imap: {
    greeted: /^\* OK .*\r\n/,
    login: (user) => `a LOGIN ${user} secret\r\n`,
    in: /^a OK .*\r\n/m,
    unavailable: /^a NO \[UNAVAILABLE\] .*\r\n/m,
    refused: /AUTHENTICATIONFAILED/,
    busy: '* BYE Too many connections\r\n',
    nonsense: '+OK POP3\r\n',
  },
  pop3: {
    greeted: /^\+OK .*\r\n/,
    login: (user) => `AUTH PLAIN ${secret(user)}\r\n`,
    in: /^\+OK in\r\n/m,
    unavailable: /^-ERR \[SYS\/TEMP\] .*\r\n/m,
    refused: /\[AUTH\]/,
    busy: '-ERR [SYS/TEMP] Too many connections\r\n',
    nonsense: '* OK IMAP4rev1\r\n',
  },
  managesieve: {
    greeted: /^OK.*\r\n/m,
    login: (user) => `AUTHENTICATE "PLAIN" "${secret(user)}"\r\n`,
    in: /^OK.*\r\n/m,
    unavailable: /^NO \(TRYLATER\) .*\r\n/m,
    refused: /^NO "/m,
    busy: 'BYE (TRYLATER) "Too many connections"\r\n',
    nonsense: '220 mail ESMTP\r\n',
  },
  submission: {
    greeted: /^220 .*\r\n/,
    login: (user) => `EHLO me\r\nAUTH PLAIN ${secret(user)}\r\n`,
    in: /^235 .*\r\n/m,
    unavailable: /^(454 4\.7\.0|421 4\.\d\.\d) .*\r\n/m,
    refused: /^535/m,
    busy: '421 4.3.2 Too many connections\r\n',
    nonsense: 'OK "Dovecot"\r\n',
  },
}

describe('backends that misbehave', () => {
  let temporary: Temporary
  let authority: Authority
  let box: Signalbox
  const ports = new Map<DialogueProtocol, number>()
  const good = new Map<DialogueProtocol, StubSpeech>()
  const bad = new Map<DialogueProtocol, StubSpeech>()
  const liars = new Map<DialogueProtocol, StubSpeech>()
  const clients: WireClient[] = []

  before(async () => {
    temporary = await makeTemporary('backends')
    authority = await makeAuthority()
    const right = await authority.issue({ names: ['localhost'] })
    const wrong = await authority.issue({ names: ['elsewhere.example.com'] })
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const free = await freePorts(PROTOCOLS.length + 1)
    const management = free.at(-1) ?? 0
    const token = randomBytes(24).toString('hex')
    for (const [index, protocol] of PROTOCOLS.entries()) {
      ports.set(protocol, free[index] ?? 0)
      good.set(protocol, await StubSpeech.start(protocol, right))
      bad.set(protocol, await StubSpeech.start(protocol, right))
      liars.set(protocol, await StubSpeech.start(protocol, wrong))
    }
    const at = (file: string): string => join(temporary.path, file)
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('token'), token, { mode: 0o600 })
    await writeFile(at('mappings'), 'bad@example.com bad\nliar@example.com liar\ngone@example.com gone\n')
    await mkdir(at('box'))
    const legs = (port: (protocol: DialogueProtocol) => number): object =>
      Object.fromEntries(PROTOCOLS.map((protocol) => [protocol, { port: port(protocol), tls: 'starttls' }]))
    const destination = (port: (protocol: DialogueProtocol) => number): object => ({
      host: '127.0.0.1',
      tls_server_name: 'localhost',
      tls_ca: at('ca.pem'),
      forwarding: 'none',
      protocol: legs(port),
    })
    const config = {
      server: {
        threads: 1, shutdown_grace: '1s', log_format: 'json', backend_timeout: `${DEADLINE_MS}ms`, backend_connect_retries: 0, host_down_threshold: 1_000_000,
      },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: Object.fromEntries(PROTOCOLS.map((protocol) => [protocol, { protocol, bind: [`127.0.0.1:${ports.get(protocol)}`], tls: 'implicit' }])),
      destination: {
        good: destination((protocol) => good.get(protocol)?.port ?? 0),
        bad: destination((protocol) => bad.get(protocol)?.port ?? 0),
        liar: destination((protocol) => liars.get(protocol)?.port ?? 0),
        // Nobody listens there.
        gone: destination(() => 1),
      },
      routing: { default_destination: 'good' },
      mapping: { source: 'file', file: { path: at('mappings') } },
      limits: { auth_failure_delay: '10ms' },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: at('token') },
    }
    box = await Signalbox.start({ directory: at('box'), config: stringify(config), admin: { port: management, token, ca: authority.cert } })
  })
  after(async () => {
    await (box as Signalbox | undefined)?.stop()
    await Promise.all([good, bad, liars].flatMap((stubs) => [...stubs.values()].map((stub) => stub.stop())))
    await (temporary as Temporary | undefined)?.remove()
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy()
    for (const stub of bad.values()) stub.misbehave()
    // Everybody else is served, and no connection to a backend is left over.
    for (const protocol of PROTOCOLS) await login(protocol, 'good@example.com', WORDS[protocol].in)
    for (const client of clients.splice(0)) client.destroy()
    const all = [...good.values(), ...bad.values(), ...liars.values()]
    for (let tries = 0; all.some(({ open }) => open > 0); tries++) {
      assert.ok(tries < 200, `left open: ${all.map(({ open }) => open).join()}`)
      await systemClock.sleep(50)
    }
  })

  /** Logs in and waits for this answer. */
  async function login(protocol: DialogueProtocol, user: string, expected: RegExp): Promise<WireClient> {
    const client = await WireClient.connect({ port: ports.get(protocol) ?? 0, ca: authority.cert })
    clients.push(client)
    await client.until(WORDS[protocol].greeted)
    client.send(WORDS[protocol].login(user))
    await client.until(expected, PATIENCE_MS)
    return client
  }

  async function health(destination: string): Promise<Readonly<Record<string, unknown>>> {
    const { json } = await box.admin.request('GET', '/destinations')
    const { destinations } = json as { destinations: readonly Readonly<Record<string, unknown>>[] }
    return destinations.find((entry) => entry['destination'] === destination) ?? assert.fail(destination)
  }

  /** The client may have its answer a moment before the primary has counted. */
  async function failures(expected: number, what: string): Promise<void> {
    for (let tries = 0; ; tries++) {
      const counted = Number((await health('bad'))['consecutive_failures'])
      if (counted === expected) return
      assert.ok(tries < 100, `${what}: ${counted} counted instead of ${expected}`)
      await systemClock.sleep(20)
    }
  }

  for (const protocol of PROTOCOLS) {
    const words = WORDS[protocol]
    const misdeeds: readonly (readonly [string, Phase, Misdeed])[] = [
      ['says nothing at all', 'greeting', { do: 'nothing' }],
      ['says that it is busy', 'greeting', { do: 'say', text: words.busy }],
      ['speaks another protocol', 'greeting', { do: 'say', text: words.nonsense }],
      ['speaks without an end', 'greeting', { do: 'say', text: 'x'.repeat(200_000) }],
      ['closes in place of a greeting', 'greeting', { do: 'close' }],
      ['resets in place of a greeting', 'greeting', { do: 'reset' }],
      ['closes behind its greeting', 'greeting', { do: 'then-close' }],
      // IMAP and ManageSieve say in the greeting what they can; there these come behind TLS.
      ['says nothing about what it can', 'capability', { do: 'nothing' }],
      ['closes when asked what it can', 'capability', { do: 'close' }],
      ['says nothing to STARTTLS', 'starttls', { do: 'nothing' }],
      ['closes at STARTTLS', 'starttls', { do: 'close' }],
      ['refuses STARTTLS', 'starttls', { do: 'say', text: { imap: 'S1 NO no\r\n', pop3: '-ERR no\r\n', managesieve: 'NO\r\n', submission: '454 no\r\n' }[protocol] }],
      ['injects behind STARTTLS', 'starttls', { do: 'inject', text: { imap: 'S4 OK in\r\n', pop3: '+OK in\r\n', managesieve: 'OK\r\n', submission: '235 in\r\n' }[protocol] }],
      ['says nothing in the handshake', 'handshake', { do: 'nothing' }],
      ['closes in the handshake', 'handshake', { do: 'close' }],
      ['speaks plainly in the handshake', 'handshake', { do: 'say', text: words.busy }],
      ['says nothing to the login', 'login', { do: 'nothing' }],
      ['closes under the login', 'login', { do: 'close' }],
      ['resets under the login', 'login', { do: 'reset' }],
      ['answers the login with nonsense', 'login', { do: 'say', text: '??? what\r\n' }],
    ]
    // ManageSieve says what it can without being asked.
    const possible = misdeeds.filter(([, phase]) => protocol !== 'managesieve' || phase !== 'capability')
    it(`${protocol}: a temporary failure each time, no password before TLS, every time counted`, async () => {
      const stub = bad.get(protocol) ?? assert.fail()
      for (const [what, phase, misdeed] of possible) {
        stub.misbehave(phase, misdeed)
        const before = Number((await health('bad'))['consecutive_failures'])
        const client = await login(protocol, 'bad@example.com', words.unavailable)
        assert.doesNotMatch(client.received, words.refused, what)
        if (phase !== 'login') assert.doesNotMatch(stub.heard.join('\n'), /secret|AUTHENTICATE|AUTH PLAIN|AHNlY3|AGJhZ/, what)
        await failures(before + 1, what)
        client.destroy()
      }
      stub.misbehave()
      await login(protocol, 'bad@example.com', words.in)
      await failures(0, 'none since a login was let in')
    })

    it(`${protocol}: a certificate for another name, and a server that is gone`, async () => {
      const liar = liars.get(protocol) ?? assert.fail()
      liar.misbehave()
      const client = await login(protocol, 'liar@example.com', words.unavailable)
      assert.doesNotMatch(client.received, words.refused)
      assert.doesNotMatch(liar.heard.join('\n'), /AUTHENTICATE|AUTH PLAIN|LOGIN/)
      await login(protocol, 'gone@example.com', words.unavailable)
      for (const [destination, code] of [['liar', 'BACKEND_CERTIFICATE'], ['gone', 'BACKEND_CONNECT']]) {
        await box.line((line) => line['event'] === 'login_unavailable' && line['protocol'] === protocol && line['destination'] === destination && line['code'] === code)
      }
      for (let tries = 0; (await health('gone'))['host_level_failure'] !== true; tries++) {
        assert.ok(tries < 100, 'a server that is gone is a failure of the host')
        await systemClock.sleep(20)
      }
    })
  }
})
