/**
 * Clients that misbehave before and around their login, over real sockets and in all four protocols: each is bounded and
 * ended in the words of its protocol, nothing that it smuggles is obeyed or reaches a backend, and everybody else is served
 * all the while. What only IMAP has (literals, tags) is in imap-wire.test.ts.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import type { DialogueProtocol } from '../../src/config/config.ts'
import { PIPELINED_BEHIND_LOGIN, PREAUTH_COMMANDS } from '../../src/limits.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { freePorts } from '../support/ports.ts'
import { Signalbox } from '../support/signalbox.ts'
import { soon } from '../support/soon.ts'
import { StubSpeech } from '../support/stub-speech.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

const PROTOCOLS = ['imap', 'pop3', 'managesieve', 'submission'] as const
const PATIENCE_MS = 20_000

interface Words {
  readonly greeted: RegExp
  readonly startTls: string
  readonly go: RegExp
  readonly noop: string
  readonly noopDone: RegExp
  /** Needed before a login. */
  readonly hello: string
  readonly login: (user: string) => string
  readonly in: RegExp
  /** The login is refused, as a wrong password is. */
  readonly denied: RegExp
  /** It is refused for want of TLS. */
  readonly needsTls: RegExp
  readonly unavailable: RegExp
  /** The backend's own refusal. */
  readonly no: string
  /** Answered before a login and by the stub behind it. */
  readonly ask: string
  readonly asked: RegExp
  /** Before a close. */
  readonly goodbye: RegExp
}

const secret = (user: string): string => Buffer.from(`\0${user}\0secret`).toString('base64')
const WORDS: Readonly<Record<DialogueProtocol, Words>> = {
  imap: {
    greeted: /^\* OK .*\r\n/,
    startTls: 's STARTTLS\r\n',
    go: /^s OK .*\r\n/m,
    noop: 'n NOOP\r\n',
    noopDone: /^n OK .*\r\n/m,
    hello: '',
    login: (user) => `a AUTHENTICATE PLAIN ${secret(user)}\r\n`,
    in: /^a OK .*\r\n/m,
    denied: /^a NO \[AUTHENTICATIONFAILED\] .*\r\n/m,
    needsTls: /^a NO \[PRIVACYREQUIRED\] .*\r\n/m,
    unavailable: /\[UNAVAILABLE\]/,
    no: 'S4 NO [AUTHENTICATIONFAILED] no\r\n',
    ask: 'c CAPABILITY\r\n',
    asked: /^c OK.*\r\n/m,
    goodbye: /^\* BYE .*\r\n/m,
  },
  pop3: {
    greeted: /^\+OK .*\r\n/,
    startTls: 'STLS\r\n',
    go: /^\+OK .*\r\n/m,
    noop: 'NOOP\r\n',
    noopDone: /^\+OK.*\r\n/m,
    hello: '',
    login: (user) => `AUTH PLAIN ${secret(user)}\r\n`,
    in: /^\+OK in\r\n/m,
    denied: /^-ERR \[AUTH\] .*\r\n/m,
    needsTls: /^-ERR .*\r\n/m,
    unavailable: /\[SYS\/TEMP\]/,
    no: '-ERR [AUTH] no\r\n',
    ask: 'CAPA\r\n',
    asked: /^\.\r\n/m,
    goodbye: /^-ERR .*\r\n/m,
  },
  managesieve: {
    greeted: /^OK.*\r\n/m,
    startTls: 'STARTTLS\r\n',
    go: /^OK.*\r\n/m,
    noop: 'NOOP\r\n',
    noopDone: /^OK.*\r\n/m,
    hello: '',
    login: (user) => `AUTHENTICATE "PLAIN" "${secret(user)}"\r\n`,
    in: /^OK.*\r\n/m,
    denied: /^NO "?.*\r\n/m,
    needsTls: /^NO .*\r\n/m,
    unavailable: /TRYLATER/,
    no: 'NO "no"\r\n',
    ask: 'CAPABILITY\r\n',
    asked: /^OK.*\r\n/m,
    goodbye: /^BYE .*\r\n/m,
  },
  submission: {
    greeted: /^220 .*\r\n/,
    startTls: 'STARTTLS\r\n',
    go: /^220 .*\r\n/m,
    noop: 'NOOP\r\n',
    noopDone: /^250 .*\r\n/m,
    hello: 'EHLO me\r\n',
    login: (user) => `AUTH PLAIN ${secret(user)}\r\n`,
    in: /^235 .*\r\n/m,
    denied: /^535 .*\r\n/m,
    needsTls: /^(538|530) .*\r\n/m,
    unavailable: /^454/m,
    no: '535 5.7.8 no\r\n',
    ask: 'EHLO me\r\n',
    asked: /^250 .*\r\n/m,
    goodbye: /^(421|500|554) .*\r\n/m,
  },
}

describe('clients that misbehave', () => {
  let temporary: Temporary
  let authority: Authority
  let box: Signalbox
  const starttls = new Map<DialogueProtocol, number>()
  const implicit = new Map<DialogueProtocol, number>()
  const stubs = new Map<DialogueProtocol, StubSpeech>()
  const clients: WireClient[] = []

  before(async () => {
    temporary = await makeTemporary('clients')
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const free = await freePorts(2 * PROTOCOLS.length + 1)
    const management = free.at(-1) ?? 0
    const token = randomBytes(24).toString('hex')
    for (const [index, protocol] of PROTOCOLS.entries()) {
      starttls.set(protocol, free[2 * index] ?? 0)
      implicit.set(protocol, free[2 * index + 1] ?? 0)
      stubs.set(protocol, await StubSpeech.start(protocol))
    }
    const at = (file: string): string => join(temporary.path, file)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('token'), token, { mode: 0o600 })
    await writeFile(at('mappings'), '')
    const listener = (protocol: DialogueProtocol, tls: 'starttls' | 'implicit') => [
      `${protocol}-${tls}`,
      { protocol, tls, bind: [`127.0.0.1:${(tls === 'starttls' ? starttls : implicit).get(protocol)}`], preauth_timeout: '3s', max_auth_attempts: 3 },
    ]
    const config = {
      server: { threads: 1, shutdown_grace: '1s', log_format: 'json', host_down_threshold: 0 },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: Object.fromEntries(PROTOCOLS.flatMap((protocol) => [listener(protocol, 'starttls'), listener(protocol, 'implicit')])),
      destination: {
        good: {
          host: '127.0.0.1',
          forwarding: 'none',
          allow_plaintext_auth: true,
          protocol: Object.fromEntries(PROTOCOLS.map((protocol) => [protocol, { port: stubOf(protocol).port, tls: 'plain' }])),
        },
      },
      routing: { default_destination: 'good' },
      mapping: { source: 'file', file: { path: at('mappings') } },
      limits: { auth_failure_delay: '10ms' },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: at('token') },
      log: { accounts: 'full' },
    }
    box = await Signalbox.start({ directory: temporary.path, config: stringify(config), admin: { port: management, token, ca: authority.cert } })
  })
  after(async () => {
    await (box as Signalbox | undefined)?.stop()
    await Promise.all([...stubs.values()].map((stub) => stub.stop()))
    await (temporary as Temporary | undefined)?.remove()
  })
  afterEach(async () => {
    for (const stub of stubs.values()) stub.misbehave()
    for (const protocol of PROTOCOLS) await loggedIn(protocol)
    for (const client of clients.splice(0)) client.destroy()
    await soon('nothing is left', async () => {
      const { json } = await box.admin.stats()
      return (json as { readonly active_connections: number }).active_connections === 0 && [...stubs.values()].every(({ open }) => open === 0)
    })
  })

  function stubOf(protocol: DialogueProtocol): StubSpeech {
    return stubs.get(protocol) ?? assert.fail(protocol)
  }

  async function plain(protocol: DialogueProtocol): Promise<WireClient> {
    const client = await WireClient.connect({ port: starttls.get(protocol) ?? 0 })
    clients.push(client)
    await client.until(WORDS[protocol].greeted)
    return client
  }

  /** Behind TLS, greeted, and ready to log in. */
  async function ready(protocol: DialogueProtocol): Promise<WireClient> {
    const client = await WireClient.connect({ port: implicit.get(protocol) ?? 0, ca: authority.cert })
    clients.push(client)
    const { greeted, hello, asked } = WORDS[protocol]
    await client.until(greeted)
    if (hello !== '') {
      client.send(hello)
      await client.until(asked)
    }
    return client
  }

  async function loggedIn(protocol: DialogueProtocol, user = 'good@example.com'): Promise<WireClient> {
    const client = await ready(protocol)
    client.send(WORDS[protocol].login(user))
    await client.until(WORDS[protocol].in)
    return client
  }

  const ends = (client: WireClient): Promise<void> => client.untilClosed(PATIENCE_MS)
  const times = (text: string, pattern: RegExp): number => [...text.matchAll(new RegExp(pattern.source, 'gm'))].length

  for (const protocol of PROTOCOLS) {
    const words = WORDS[protocol]
    const noBackend = (): void => assert.deepEqual(stubOf(protocol).heard, [])

    describe(protocol, () => {
      it('obeys nothing that was pipelined behind STARTTLS, before the handshake or in its place', async () => {
        for (const apart of [false, true]) {
          stubOf(protocol).misbehave()
          const client = await plain(protocol)
          if (apart) {
            client.send(words.startTls)
            await client.until(words.go)
          }
          client.send(`${apart ? '' : words.startTls}${words.hello}${words.login('good@example.com')}`)
          await ends(client)
          noBackend()
        }
      })

      it('reads no password in the clear', async () => {
        stubOf(protocol).misbehave()
        const client = await plain(protocol)
        client.send(`${words.hello}${words.login('good@example.com')}`)
        await client.until(words.needsTls)
        noBackend()
      })

      it('bounds lines, finished or not, and the number of commands', async () => {
        for (const line of [`${'x'.repeat(13_000)}\r\n`, 'x'.repeat(100_000)]) {
          const client = await ready(protocol)
          client.send(line)
          await ends(client)
        }
        const chatty = await ready(protocol)
        chatty.send(words.noop.repeat(PREAUTH_COMMANDS + 50))
        await ends(chatty)
        const answered = times(chatty.received, words.noopDone)
        assert.ok(answered >= 90 && answered <= PREAUTH_COMMANDS + 2, `${answered} commands`)
        assert.match(chatty.received, words.goodbye)
      })

      it('hangs up on HTTP, on TLS where none is spoken, and on none where TLS is', async () => {
        stubOf(protocol).misbehave()
        for (const client of [await plain(protocol), await WireClient.connect({ port: implicit.get(protocol) ?? 0, ca: authority.cert })]) {
          clients.push(client)
          client.send(`POST / HTTP/1.1\r\nHost: localhost\r\n\r\n${words.hello}${words.login('good@example.com')}`)
          await ends(client)
        }
        await assert.rejects(WireClient.connect({ port: starttls.get(protocol) ?? 0, ca: authority.cert }))
        const bare = await WireClient.connect({ port: implicit.get(protocol) ?? 0 })
        clients.push(bare)
        bare.send(`${words.hello}${words.login('good@example.com')}`)
        await ends(bare)
        noBackend()
      })

      it('refuses names with line breaks, NUL and spaces like wrong passwords, counts them, and asks no backend', async () => {
        stubOf(protocol).misbehave()
        const from = box.lines.length
        for (const names of [['x\r\nQUIT', 'x\0y', 'x\ry'], ['good@example.com ', ' good@example.com', 'go od@example.com']]) {
          const client = await ready(protocol)
          for (const [index, name] of names.entries()) {
            client.send(words.login(name))
            // The last one says goodbye as well, in a way of its own.
            if (index < 2) assert.doesNotMatch(await client.until(words.denied), words.unavailable)
          }
          await ends(client)
          assert.doesNotMatch(client.received, words.unavailable)
        }
        noBackend()
        for (const attempt of [1, 2, 3]) {
          await box.line((line) => line['event'] === 'login_refused' && line['protocol'] === protocol && line['reason'] === 'identifier' && line['attempt'] === attempt, PATIENCE_MS, from)
        }
      })

      it('treats names of prototype properties as names', async () => {
        for (const name of ['__proto__', 'constructor', 'hasOwnProperty']) await loggedIn(protocol, name)
      })

      it('closes after too many refused logins', async () => {
        const stub = stubOf(protocol)
        stub.misbehave('login', { do: 'say', text: words.no })
        const client = await ready(protocol)
        for (let count = 0; count < 5; count++) client.send(words.login('good@example.com'))
        await ends(client)
        assert.equal(stub.heard.length, 3)
      })

      it('ends a client that half-closes before its login, and passes a half-close on after it', async () => {
        const before = await ready(protocol)
        before.send(words.login('good@example.com').slice(0, 8))
        before.end()
        await ends(before)
        const bridged = await loggedIn(protocol)
        bridged.send(words.ask)
        bridged.end()
        await bridged.until(words.asked)
        await ends(bridged)
      })

      it('survives a reset in each phase', async () => {
        const stub = stubOf(protocol)
        for (const client of [await plain(protocol), await ready(protocol)]) client.reset()
        const within = await ready(protocol)
        within.send(words.login('good@example.com').slice(0, 8))
        within.reset()
        const handshaking = await plain(protocol)
        handshaking.send(words.startTls)
        await handshaking.until(words.go)
        handshaking.send(Buffer.from('16030100ff010000fb0303', 'hex'))
        handshaking.reset()
        for (const phase of ['greeting', 'login'] as const) {
          stub.misbehave(phase, { do: 'nothing' })
          const client = await ready(protocol)
          client.send(words.login('good@example.com'))
          await soon('the backend is at it', () => (phase === 'greeting' ? stub.open > 0 : /AUTH/.test(stub.heard.join(''))))
          client.reset()
          await soon('the backend is left', () => stub.open === 0)
        }
        stub.misbehave()
        ;(await loggedIn(protocol)).reset()
      })

      it('bounds what is sent behind a login, and loses none of what is within the bound', async () => {
        const stub = stubOf(protocol)
        const client = await ready(protocol)
        client.send(words.login('good@example.com') + words.ask.repeat(100))
        await client.until(words.in)
        await soon('all of it is answered', () => times(client.received, words.asked) >= 100)
        stub.misbehave('login', { do: 'nothing' })
        const greedy = await ready(protocol)
        greedy.send(words.login('good@example.com') + 'y'.repeat(PIPELINED_BEHIND_LOGIN + 1))
        await ends(greedy)
        assert.doesNotMatch(stub.heard.join(''), /yyy/)
      })
    })
  }

  it('bounds the time before login in every protocol: silence, a byte now and then, a handshake that never comes', async () => {
    const silent = await Promise.all(PROTOCOLS.map((protocol) => plain(protocol)))
    const waiting = await Promise.all(PROTOCOLS.map((protocol) => WireClient.connect({ port: implicit.get(protocol) ?? 0 })))
    const half = await Promise.all(PROTOCOLS.map(async (protocol) => {
      const client = await plain(protocol)
      client.send(WORDS[protocol].startTls)
      await client.until(WORDS[protocol].go)
      return client
    }))
    const dripping = await Promise.all(PROTOCOLS.map((protocol) => ready(protocol)))
    clients.push(...waiting)
    const all = [...silent, ...waiting, ...half, ...dripping]
    const deadline = systemClock.now() + PATIENCE_MS
    while (all.some((client) => !client.ended)) {
      assert.ok(systemClock.now() < deadline, `still open: ${all.map((client) => client.ended).join()}`)
      for (const client of dripping) if (!client.ended) client.send('x')
      await systemClock.sleep(100)
    }
    for (const [index, protocol] of PROTOCOLS.entries()) assert.match(silent[index]?.received ?? '', WORDS[protocol].goodbye)
  })
})
