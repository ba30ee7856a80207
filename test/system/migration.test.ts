/**
 * config/dovecot-migration.toml as it stands, ports, paths and host names moved: a legacy Dovecot with its Postfix, and a
 * new Dovecot whose ports expect PROXY headers. Every port is used by a real client before and after an account is moved.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { parse, stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { workOfClients } from '../support/mail-clients.ts'
import { freePorts } from '../support/ports.ts'
import { startPostfix } from '../support/postfix.ts'
import type { Postfix } from '../support/postfix.ts'
import { skipWithout } from '../support/programs.ts'
import { MAIN, Signalbox } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { change } from '../support/toml-table.ts'
import type { Table } from '../support/toml-table.ts'

const CONFIG = new URL('../../config/dovecot-migration.toml', import.meta.url)
const TOKEN = '0123456789abcdef'.repeat(4)
const ACCOUNT = 'carol@example.com'
/** Listener → protocol and mode. */
const PORTS = {
  imaps: ['imap', 'implicit'],
  imap: ['imap', 'starttls'],
  pop3s: ['pop3', 'implicit'],
  pop3: ['pop3', 'starttls'],
  sieve: ['managesieve', 'starttls'],
  submissions: ['submission', 'implicit'],
  submission: ['submission', 'starttls'],
  smtp: ['smtp', 'plain'],
  lmtp: ['lmtp', 'plain'],
} as const
type Listener = keyof typeof PORTS
const LISTENERS = Object.keys(PORTS) as Listener[]
const LOGINS = LISTENERS.filter((name) => name !== 'smtp' && name !== 'lmtp')

describe('dovecot-migration.toml', { skip: skipWithout('dovecot', 'pop3-login', 'managesieve-login', 'submission-login', 'lmtp', 'postfix', 'python3') }, () => {
  let temporary: Temporary
  let authority: Authority
  let legacy: Dovecot
  let postfix: Postfix
  let replacement: Dovecot
  let box: Signalbox
  let path: string
  const ports = new Map<Listener, number>()

  before(async () => {
    temporary = await makeTemporary('migration', 0o755)
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', 'mail.example.com'] })
    const free = await freePorts(LISTENERS.length + 1)
    LISTENERS.forEach((name, index) => ports.set(name, free[index] ?? 0))
    const management = free.at(-1) ?? 0
    const users = { [ACCOUNT]: 'secret' }
    const authSocket = join(temporary.path, 'auth')
    legacy = await startDovecot({ name: 'legacy', users, certificate, services: { authSocket } })
    postfix = await startPostfix({ certificate, authSocket, lmtpPort: legacy.ports?.lmtp.starttls ?? 0 })
    replacement = await startDovecot({ name: 'new', users, certificate, services: { relay: postfix.ports.starttls } })

    const at = (file: string): string => join(temporary.path, file)
    await writeFile(at('fullchain.pem'), certificate.cert)
    await writeFile(at('privkey.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('admin.token'), TOKEN, { mode: 0o600 })
    await writeFile(at('mappings.tsv'), '')
    const text = await readFile(CONFIG, 'utf8')
    const document: Table = parse(text.replaceAll('/etc/signalbox/tls', temporary.path).replaceAll('/etc/signalbox', temporary.path))
    const old = legacy.ports ?? assert.fail()
    const now = replacement.ports ?? assert.fail()
    const here = { host: '127.0.0.1', tls_server_name: 'localhost', tls_ca: at('ca.pem') }
    change(document, {
      'server.threads': 2,
      'server.shutdown_grace': '1s',
      'server.log_format': 'json',
      'admin.bind': `127.0.0.1:${management}`,
      ...Object.fromEntries(LISTENERS.map((name) => [`listener.${name}.bind`, [`127.0.0.1:${ports.get(name)}`]])),
      ...Object.fromEntries(['legacy', 'new'].flatMap((name) => Object.entries(here).map(([key, value]) => [`destination.${name}.${key}`, value]))),
      'destination.legacy.protocol.imap.port': old.login.imap.starttls,
      'destination.legacy.protocol.pop3.port': old.login.pop3.starttls,
      'destination.legacy.protocol.managesieve.port': old.login.sieve.starttls,
      'destination.legacy.protocol.submission.port': postfix.ports.xclientStarttls,
      'destination.legacy.protocol.smtp.port': postfix.ports.proxiedStarttls,
      'destination.legacy.protocol.lmtp.port': old.lmtp.starttls,
      'destination.new.protocol.imap.port': now.login.imap.proxiedImplicit,
      'destination.new.protocol.pop3.port': now.login.pop3.proxiedImplicit,
      'destination.new.protocol.managesieve.port': now.login.sieve.proxiedStarttls,
      'destination.new.protocol.submission.port': now.login.submission.proxiedImplicit,
    })
    path = at('moved.toml')
    await writeFile(path, stringify(document))
    box = await Signalbox.start({ directory: temporary.path, config: stringify(document), admin: { port: management, token: TOKEN, ca: authority.cert } })
  })
  after(async () => {
    // Absent when starting failed: what was started must go all the same.
    await (box as Signalbox | undefined)?.stop()
    await (postfix as Postfix | undefined)?.stop()
    await (legacy as Dovecot | undefined)?.stop()
    await (replacement as Dovecot | undefined)?.stop()
    await (temporary as Temporary | undefined)?.remove()
  })

  /** Real work on each of the listeners; what came of it, by listener. The client on the n-th has the address 127.0.`net`.n. */
  async function work(net: number, listeners: readonly Listener[]): Promise<Readonly<Record<string, unknown>>> {
    const jobs = listeners.map((name, index) => {
      const [protocol, tls] = PORTS[name]
      const source = `127.0.${net}.${index + 1}`
      const ca = join(temporary.path, 'ca.pem')
      return { protocol, tls, port: ports.get(name), user: ACCOUNT, password: 'secret', ca, source, to: ACCOUNT, subject: `${name}-${net}` }
    })
    const results = await workOfClients(jobs)
    return Object.fromEntries(listeners.map((name, index) => [name, results[index]]))
  }

  const expected = (server: string, net: number): object => ({
    imaps: `You are on the ${server} server.`,
    imap: `You are on the ${server} server.`,
    pop3s: `You are on the ${server} server.`,
    pop3: `You are on the ${server} server.`,
    sieve: 'kept',
    submissions: `submissions-${net}`,
    submission: `submission-${net}`,
  })

  /** The addresses of net `net` that a log shows. */
  const seen = (log: string, net: number): string[] => [...new Set(log.match(new RegExp(`\\b127\\.0\\.${net}\\.\\d+`, 'g')))].sort()
  const all = (net: number, from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, index) => `127.0.${net}.${from + index}`)

  it('starts without a warning, and both servers can do what is claimed', () => {
    const warnings = box.lines.filter(({ event }) => event === 'config_warning').map((line) => String(line['warning']))
    // How many descriptors there may be is the machine's business.
    assert.deepEqual(warnings.filter((warning) => !warning.includes('file descriptors')), [])
    const { status, stdout } = spawnSync(process.execPath, [MAIN, 'check', '--probe', path], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
    assert.equal(status, 0, stdout)
  })

  it('serves an account on legacy, on every port; legacy learns the real address by XCLIENT and ID, and by PROXY header for SMTP', async () => {
    const { smtp, lmtp, ...logins } = await work(10, LISTENERS)
    assert.deepEqual(logins, expected('legacy', 10))
    assert.equal(smtp, 'smtp-10')
    assert.match(String(lmtp), /^250 2\.0\.0 .*Saved/)
    const mail = await legacy.log()
    assert.deepEqual(seen(mail, 10), all(10, 1, 5))
    assert.deepEqual(seen(await postfix.log(), 10), all(10, 6, 8))
    assert.deepEqual(seen(await replacement.log(), 10), [])
  })

  it('serves it on the new server once it is moved, on every port; the new server learns the address by PROXY headers', async () => {
    const put = await box.admin.put(ACCOUNT, 'new')
    assert.equal(put.status, 200, put.body)
    assert.deepEqual(await work(20, LOGINS), expected('new', 20))
    assert.deepEqual(seen(await replacement.log(), 20), all(20, 1, 7))
    assert.deepEqual(seen(await legacy.log(), 20), [])
  })

  it('delivers what was submitted and sent, into the mailbox that LMTP leads to', async () => {
    const saved = async (): Promise<number> => (await legacy.log()).match(/saved mail to INBOX/g)?.length ?? 0
    for (let tries = 0; (await saved()) < 6; tries++) {
      assert.ok(tries < 200, `${await saved()} of 6 mails: two submitted before and two after, one by SMTP, one by LMTP`)
      await systemClock.sleep(100)
    }
  })

  it('lost nobody’s address on the way', () => {
    assert.deepEqual(box.lines.filter(({ event }) => event === 'client_address_lost' || event === 'login_unavailable'), [])
  })
})
