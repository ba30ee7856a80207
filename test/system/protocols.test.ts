/**
 * Every mail protocol with real clients and real servers: {plain, STARTTLS, implicit TLS} towards the client × the same
 * towards the backend × what the backend is told of the client. Each session connects from an address of its own and does
 * real work; the backend's log must show that address where forwarding says so, and the proxy's where it doesn't. Mail that
 * is submitted goes through Postfix, the proxy's LMTP pass-through and Dovecot into a mailbox.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import type { LoginPorts } from '../support/dovecot-services.ts'
import { workOfClients } from '../support/mail-clients.ts'
import { freePorts } from '../support/ports.ts'
import { startPostfix } from '../support/postfix.ts'
import type { Postfix } from '../support/postfix.ts'
import { skipWithout } from '../support/programs.ts'
import { MAIN, Signalbox } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

const MODES = ['plain', 'starttls', 'implicit'] as const
type Mode = (typeof MODES)[number]
const FORWARDING = ['none', 'proxy', 'xclient'] as const
type Forwarding = (typeof FORWARDING)[number]
const LOGINS = ['imap', 'pop3', 'managesieve', 'submission'] as const
type Login = (typeof LOGINS)[number]
type Served = Login | 'smtp' | 'lmtp'

interface Job {
  readonly protocol: Served
  readonly tls: Mode
  readonly port: number
  readonly user: string
  readonly password: string
  readonly ca: string
  readonly source: string
  readonly to: string
  readonly subject: string
}

/** What is to be seen of a job besides its own result. */
interface Case {
  readonly title: string
  readonly job: Job
  readonly forwarding: Forwarding
}

const account = (leg: Mode, forwarding: Forwarding): string => `${leg}-${forwarding}@example.com`
const COMBINATIONS = MODES.flatMap((leg) => FORWARDING.map((forwarding) => ({ leg, forwarding })))

describe('every protocol, over every kind of leg', { skip: skipWithout('dovecot', 'pop3-login', 'managesieve-login', 'lmtp', 'postfix', 'python3') }, () => {
  let temporary: Temporary
  let authority: Authority
  let dovecot: Dovecot
  let postfix: Postfix
  const boxes: Signalbox[] = []
  let sources = 0
  /** The configuration that was started first. */
  let text = ''
  /** By listener: protocol and mode. */
  const ports = new Map<string, number>()
  /** The same for the second instance, whose pass-through has other legs. */
  const otherPorts = new Map<string, number>()

  before(async () => {
    temporary = await makeTemporary('protocols', 0o755)
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    await writeFile(join(temporary.path, 'ca.pem'), authority.cert)
    await writeFile(join(temporary.path, 'cert.pem'), certificate.cert)
    await writeFile(join(temporary.path, 'key.pem'), certificate.key, { mode: 0o600 })
    const users = Object.fromEntries(COMBINATIONS.map(({ leg, forwarding }) => [account(leg, forwarding), 'secret']))
    const listeners = [...LOGINS.flatMap((name) => MODES.map((mode) => `${name} ${mode}`)), 'smtp plain', 'smtp implicit', 'lmtp plain', 'lmtp implicit']
    const free = await freePorts(listeners.length + 4)
    listeners.forEach((name, index) => ports.set(name, free[index] ?? 0))
    const others = ['smtp plain', 'smtp implicit', 'lmtp plain', 'lmtp implicit']
    others.forEach((name, index) => otherPorts.set(name, free[listeners.length + index] ?? 0))

    const authSocket = join(temporary.path, 'auth')
    dovecot = await startDovecot({ name: 'real', users, certificate, services: { authSocket } })
    postfix = await startPostfix({ certificate, authSocket, lmtpPort: ports.get('lmtp plain') ?? 0 })
    boxes.push(await start('first', ports, { leg: 'plain', forwarding: 'proxy' }))
    boxes.push(await start('second', otherPorts, { leg: 'implicit', forwarding: 'none' }))
  })
  after(async () => {
    await Promise.all(boxes.map((box) => box.stop()))
    // Absent when starting failed: the servers must go all the same.
    await (postfix as Postfix | undefined)?.stop()
    await (dovecot as Dovecot | undefined)?.stop()
    await (temporary as Temporary | undefined)?.remove()
  })

  function portOf(served: Served, leg: Mode, forwarding: Forwarding): number {
    const { login, lmtp } = dovecot.ports ?? assert.fail('Dovecot serves them all')
    const kinds: Readonly<Record<Served, LoginPorts>> = {
      imap: login.imap,
      pop3: login.pop3,
      managesieve: login.sieve,
      submission: postfix.ports,
      smtp: postfix.ports,
      lmtp,
    }
    if (served === 'submission' && forwarding === 'xclient') return leg === 'implicit' ? postfix.ports.xclientImplicit : postfix.ports.xclientStarttls
    const { starttls, implicit, proxiedStarttls, proxiedImplicit } = kinds[served]
    if (forwarding === 'proxy') return leg === 'implicit' ? proxiedImplicit : proxiedStarttls
    return leg === 'implicit' ? implicit : starttls
  }

  async function start(name: string, listening: ReadonlyMap<string, number>, passthrough: { leg: 'plain' | 'implicit'; forwarding: 'none' | 'proxy' }): Promise<Signalbox> {
    const at = (file: string): string => join(temporary.path, file)
    const destination = (leg: Mode, forwarding: Forwarding): object => ({
      host: '127.0.0.1',
      forwarding,
      allow_plaintext_auth: true,
      tls_server_name: 'localhost',
      tls_ca: at('ca.pem'),
      protocol: Object.fromEntries(LOGINS.map((protocol) => [protocol, { port: portOf(protocol, leg, forwarding), tls: leg }])),
    })
    const capabilities = { allow_plain_auth_without_tls: true }
    const directory = at(name)
    const token = randomBytes(24).toString('hex')
    const [management = 0] = await freePorts(1)
    await writeFile(at(`${name}.mappings`), COMBINATIONS.map(({ leg, forwarding }) => `${account(leg, forwarding)}\t${leg}-${forwarding}\n`).join(''))
    await writeFile(at(`${name}.token`), `${token}\n`, { mode: 0o600 })
    await mkdir(directory)
    const config = {
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json', hostname: 'proxy.example.com' },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: Object.fromEntries(
        [...listening].map(([listener, port]) => {
          const [protocol = '', tls = ''] = listener.split(' ')
          return [`${protocol}-${tls}`, { protocol, bind: [`127.0.0.1:${port}`], tls }]
        }),
      ),
      destination: {
        ...Object.fromEntries(COMBINATIONS.map(({ leg, forwarding }) => [`${leg}-${forwarding}`, destination(leg, forwarding)])),
        through: {
          host: '127.0.0.1',
          forwarding: passthrough.forwarding,
          tls_server_name: 'localhost',
          tls_ca: at('ca.pem'),
          protocol: {
            smtp: { port: portOf('smtp', passthrough.leg, passthrough.forwarding), tls: passthrough.leg },
            lmtp: { port: portOf('lmtp', passthrough.leg, passthrough.forwarding), tls: passthrough.leg },
          },
        },
      },
      routing: { default_destination: 'plain-none', smtp_passthrough_destination: 'through' },
      mapping: { source: 'file', file: { path: at(`${name}.mappings`) } },
      capabilities: Object.fromEntries(LOGINS.map((name) => [name, capabilities])),
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: at(`${name}.token`) },
    }
    const toml = stringify(config)
    if (text === '') text = toml
    return Signalbox.start({ directory, config: toml, admin: { port: management, token, ca: authority.cert } })
  }

  function jobOf(protocol: Served, tls: Mode, listening: ReadonlyMap<string, number>, user: string): Job {
    const source = `127.0.1.${++sources}`
    return {
      protocol,
      tls,
      port: listening.get(`${protocol} ${tls}`) ?? 0,
      user,
      password: 'secret',
      ca: join(temporary.path, 'ca.pem'),
      source,
      to: user,
      subject: `mail-${sources}`,
    }
  }

  function casesOf(protocol: Login): Case[] {
    return MODES.flatMap((tls) =>
      COMBINATIONS.map(({ leg, forwarding }) => ({
        title: `${protocol}: ${tls} client, ${leg} backend, forwarding ${forwarding}`,
        job: jobOf(protocol, tls, ports, account(leg, forwarding)),
        forwarding,
      })),
    )
  }

  /** The work was done and the backend saw whom it should have seen, in the lines that `line` picks out of its log. */
  async function judge(cases: readonly Case[], expected: (job: Job) => unknown, log: () => Promise<string>): Promise<void> {
    const results = await workOfClients(cases.map(({ job }) => job))
    const found = Object.fromEntries(cases.map(({ title }, index) => [title, results[index]]))
    assert.deepEqual(found, Object.fromEntries(cases.map(({ title, job }) => [title, expected(job)])))
    const text = await log()
    const seen = (address: string): boolean => new RegExp(`[=[]${address.replaceAll('.', '\\.')}[\\],]`).test(text)
    const wrong = cases.filter(({ job, forwarding }) => seen(job.source) !== (forwarding !== 'none'))
    assert.deepEqual(wrong.map(({ title }) => title), [])
  }

  it('IMAP: logs in, reads and appends', async () => {
    await judge(casesOf('imap'), () => 'You are on the real server.', () => dovecot.log())
  })

  it('POP3: logs in and retrieves', async () => {
    await judge(casesOf('pop3'), () => 'You are on the real server.', () => dovecot.log())
  })

  it('ManageSieve: logs in, puts, lists and gets a script', async () => {
    await judge(casesOf('managesieve'), () => 'kept', () => dovecot.log())
  })

  it('submission: logs in at Postfix and sends mail, which comes back by LMTP through the proxy', async () => {
    const cases = casesOf('submission')
    await judge(cases, ({ subject }) => subject, () => postfix.log())
    for (let tries = 0; (await delivered()) < cases.length; tries++) {
      assert.ok(tries < 300, `${await delivered()} of ${cases.length} mails came back`)
      await systemClock.sleep(100)
    }
  })

  it('SMTP and LMTP: pass through whole, plain and by TLS on either leg, with and without PROXY headers', async () => {
    const user = account('plain', 'none')
    const through = (protocol: 'smtp' | 'lmtp', listening: ReadonlyMap<string, number>, forwarding: Forwarding): Case[] =>
      (['plain', 'implicit'] as const).map((tls) => ({
        title: `${protocol}: ${tls} client, forwarding ${forwarding}`,
        job: jobOf(protocol, tls, listening, user),
        forwarding,
      }))
    const smtp = [...through('smtp', ports, 'proxy'), ...through('smtp', otherPorts, 'none')]
    await judge(smtp, ({ subject }) => subject, () => postfix.log())
    const lmtp = [...through('lmtp', ports, 'proxy'), ...through('lmtp', otherPorts, 'none')]
    const log = async (): Promise<string> => (await dovecot.log()).replaceAll(/Connect from (\S+)/g, 'Connect from [$1]')
    const results = await workOfClients(lmtp.map(({ job }) => job))
    for (const [index, result] of results.entries()) assert.match(`${lmtp[index]?.title}: ${String(result)}`, /: 250 2\.0\.0 .*Saved/)
    const text = await log()
    for (const { title, job, forwarding } of lmtp) assert.equal(text.includes(`[${job.source}]`), forwarding !== 'none', title)
  })

  it('check --probe reads what the servers can do, and names what is claimed beyond it', async () => {
    const path = join(temporary.path, 'probe.toml')
    await writeFile(path, text.replace('[capabilities.submission]', '[capabilities.submission]\nehlo = ["8BITMIME", "BURL imap"]'))
    const { status, stdout } = spawnSync(process.execPath, [MAIN, 'check', '--probe', path], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
    assert.match(stdout, /^ {2}plain-none \(port \d+\): PIPELINING, SIZE 10240000, .*AUTH PLAIN LOGIN/m)
    assert.match(stdout, /^ {2}common to all: \[capabilities\.submission\] ehlo = \["PIPELINING", "SIZE", "VRFY", .*"8BITMIME"/m)
    assert.match(stdout, /^ {2}capabilities\.submission\.ehlo claims BURL, which is not true of plain-none, plain-proxy, plain-xclient, /m)
    assert.match(stdout, /^ {2}capabilities\.imap\.sasl offers OAUTHBEARER, which plain-none, .* can't take$/m)
    assert.match(stdout, /^ {2}common to all: \[capabilities\.managesieve\] sieve = \["fileinto", "reject", /m)
    assert.doesNotMatch(stdout, /not asked/)
    assert.equal(status, 1)
  })

  it('says in its own log who came, whatever the backend was told', async () => {
    const lines = boxes.flatMap((box) => box.lines)
    const clients = new Set(lines.filter((line) => line['event'] === 'login').map((line) => line['client']))
    for (let source = 1; source <= 4 * MODES.length * COMBINATIONS.length; source++) assert.ok(clients.has(`127.0.1.${source}`), `127.0.1.${source}`)
    assert.equal(lines.filter((line) => line['event'] === 'client_address_lost').length, 0)
  })

  async function delivered(): Promise<number> {
    return (await dovecot.log()).match(/saved mail to INBOX/g)?.length ?? 0
  }
})
