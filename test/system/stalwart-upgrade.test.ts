/**
 * config/stalwart-upgrade.toml as it stands, ports, paths and host names moved: mail servers and JMAP servers of an old and a new
 * deployment whose ports expect PROXY headers. Each rule is asked by name; an account is moved with its JMAP client connected.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { parse, stringify } from 'smol-toml'
import { WebSocket } from 'ws'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { startDovecot } from '../support/dovecot.ts'
import type { Dovecot } from '../support/dovecot.ts'
import { isRecord } from '../support/jmap-api.ts'
import { JmapServer } from '../support/jmap-server.ts'
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

const CONFIG = new URL('../../config/stalwart-upgrade.toml', import.meta.url)
const TOKEN = '0123456789abcdef'.repeat(4)
const ACCOUNT = 'carol@example.com'
const STAYS = 'dave@example.com'
/** Listener → protocol and mode, of those that mail programs use. */
const PORTS = {
  imaps: ['imap', 'implicit'],
  imap: ['imap', 'starttls'],
  pop3s: ['pop3', 'implicit'],
  pop3: ['pop3', 'starttls'],
  sieve: ['managesieve', 'starttls'],
  submissions: ['submission', 'implicit'],
  submission: ['submission', 'starttls'],
  smtp: ['smtp', 'plain'],
} as const
type Listener = keyof typeof PORTS | 'https'
const MAIL = Object.keys(PORTS) as (keyof typeof PORTS)[]
interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** OAuth as far as it matters where it is asked: what one server has given out means nothing to the other. */
const oauth =
  (name: string, token: () => string) =>
  (request: IncomingMessage, response: ServerResponse, body: Buffer): void => {
    const form = new URLSearchParams(body.toString())
    const { method = '', url = '' } = request
    if (url === '/auth/device') response.end(JSON.stringify({ device_code: `${name}-code`, user_code: 'AB12', verification_uri: 'https://mail.example.com/device' }))
    else if (url === '/auth/token' && form.get('device_code') === `${name}-code`) response.end(JSON.stringify({ access_token: token(), token_type: 'bearer' }))
    else if (url === '/auth/token') response.writeHead(400).end(JSON.stringify({ error: 'invalid_grant' }))
    else response.end(`${name} ${method} ${url}`)
  }

describe('stalwart-upgrade.toml', { skip: skipWithout('dovecot', 'pop3-login', 'managesieve-login', 'submission-login', 'lmtp', 'postfix', 'python3') }, () => {
  let temporary: Temporary
  let authority: Authority
  let mail: Readonly<Record<'old' | 'new', Dovecot>>
  let web: Readonly<Record<'old' | 'new', JmapServer>>
  let postfix: Postfix
  let box: Signalbox
  let path: string
  const ports = new Map<Listener, number>()

  before(async () => {
    temporary = await makeTemporary('upgrade', 0o755)
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost', 'mail.example.com'] })
    const listeners: readonly Listener[] = [...MAIL, 'https']
    const free = await freePorts(listeners.length + 1)
    listeners.forEach((name, index) => ports.set(name, free[index] ?? 0))
    const management = free.at(-1) ?? 0
    const users = { [ACCOUNT]: 'secret', [STAYS]: 'secret' }
    const authSocket = join(temporary.path, 'auth')
    const replacement = await startDovecot({ name: 'new', users, certificate, services: { authSocket } })
    postfix = await startPostfix({ certificate, authSocket, lmtpPort: replacement.ports?.lmtp.starttls ?? 0 })
    const predecessor = await startDovecot({ name: 'old', users, certificate, services: {} })
    mail = { old: predecessor, new: replacement }
    const origin = `https://localhost:${ports.get('https')}`
    const jmap = (name: 'old' | 'new'): Promise<JmapServer> => JmapServer.start({ name, users, certificate, proxied: true, origin, other: oauth(name, () => web[name].token(ACCOUNT)) })
    web = { old: await jmap('old'), new: await jmap('new') }

    const at = (file: string): string => join(temporary.path, file)
    await writeFile(at('fullchain.pem'), certificate.cert)
    await writeFile(at('privkey.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('admin.token'), TOKEN, { mode: 0o600 })
    const text = await readFile(CONFIG, 'utf8')
    // The mappings that the file itself tells of.
    const lines = /printf '(.*)' > \/etc\/signalbox\/mappings\.tsv/.exec(text)?.[1] ?? assert.fail('the file says how the mapping file begins')
    await writeFile(at('mappings.tsv'), lines.replaceAll('\\n', '\n'))
    const document: Table = parse(text.replaceAll('/etc/signalbox/tls', temporary.path).replaceAll('/etc/signalbox', temporary.path))
    const here = { host: '127.0.0.1', tls_server_name: 'localhost', tls_ca: at('ca.pem') }
    const legs = (name: 'old' | 'new'): Table => {
      const login = mail[name].ports?.login ?? assert.fail()
      return {
        ...Object.fromEntries(Object.entries(here).map(([key, value]) => [`destination.${name}.${key}`, value])),
        [`destination.${name}.protocol.imap.port`]: login.imap.proxiedImplicit,
        [`destination.${name}.protocol.pop3.port`]: login.pop3.proxiedImplicit,
        [`destination.${name}.protocol.managesieve.port`]: login.sieve.proxiedStarttls,
        [`destination.${name}.protocol.submission.port`]: postfix.ports.proxiedImplicit,
        [`destination.${name}.protocol.http.port`]: web[name].port,
      }
    }
    change(document, {
      'server.threads': 2,
      'server.shutdown_grace': '1s',
      'server.log_format': 'json',
      'admin.bind': `127.0.0.1:${management}`,
      ...Object.fromEntries(listeners.map((name) => [`listener.${name}.bind`, [`127.0.0.1:${ports.get(name)}`]])),
      ...legs('old'),
      ...legs('new'),
      'destination.new.protocol.smtp.port': postfix.ports.proxiedStarttls,
    })
    path = at('moved.toml')
    await writeFile(path, stringify(document))
    box = await Signalbox.start({ directory: temporary.path, config: stringify(document), admin: { port: management, token: TOKEN, ca: authority.cert } })
  })
  after(async () => {
    // Absent when starting failed: what was started must go all the same.
    await (box as Signalbox | undefined)?.stop()
    await (postfix as Postfix | undefined)?.stop()
    for (const server of Object.values((mail as typeof mail | undefined) ?? {})) await server.stop()
    for (const server of Object.values((web as typeof web | undefined) ?? {})) await server[Symbol.asyncDispose]()
    await (temporary as Temporary | undefined)?.remove()
  })

  async function ask(target: string, options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string | Buffer; readonly from?: string } = {}): Promise<Answer> {
    const { method = options.body === undefined ? 'GET' : 'POST', headers = {}, body, from = '127.0.0.1' } = options
    const sent = httpsRequest({ host: '127.0.0.1', servername: 'localhost', port: ports.get('https'), ca: authority.cert, path: target, method, headers, agent: false, localAddress: from })
    sent.end(body)
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks).toString('latin1') }
  }
  const login = (account: string): Record<string, string> => ({ authorization: `Basic ${Buffer.from(`${account}:secret`).toString('base64')}` })
  const webSocket = (): WebSocket => new WebSocket(`wss://localhost:${ports.get('https')}/jmap/ws`, 'jmap', { ca: authority.cert, headers: login(ACCOUNT) })
  const server = async (...args: Parameters<typeof ask>): Promise<unknown> => (await ask(...args)).headers['x-server']
  const object = (text: string): Record<string, unknown> => {
    const value: unknown = JSON.parse(text)
    assert.ok(isRecord(value))
    return value
  }
  const call = async (account: string, ...methodCalls: readonly unknown[]): Promise<Record<string, unknown>> => {
    const { status, body } = await ask('/jmap/', { headers: { ...login(account), 'content-type': 'application/json' }, body: JSON.stringify({ using: ['urn:ietf:params:jmap:core', 'urn:ietf:params:jmap:mail'], methodCalls }) })
    assert.equal(status, 200, body)
    return object(body)
  }
  const accountId = async (account: string): Promise<string> => {
    const { primaryAccounts } = object((await ask('/jmap/session', { headers: login(account) })).body)
    assert.ok(isRecord(primaryAccounts))
    return String(primaryAccounts['urn:ietf:params:jmap:mail'])
  }

  it('starts without a warning, and both servers can do what is claimed', () => {
    const warnings = box.lines.filter(({ event }) => event === 'config_warning').map((line) => String(line['warning']))
    // How many descriptors there may be is the machine's business.
    assert.deepEqual(warnings.filter((warning) => !warning.includes('file descriptors')), [])
    const { status, stdout } = spawnSync(process.execPath, [MAIN, 'check', '--probe', path], { encoding: 'utf8', env: { PATH: process.env['PATH'] } })
    assert.equal(status, 0, stdout)
  })

  it('sends every path where the file says', async () => {
    const cases: Readonly<Record<string, readonly string[]>> = {
      old: ['/authorize', '/authorize/code', '/api/oauth', '/auth/jwks.json', '/.well-known/oauth-authorization-server', '/.well-known/openid-configuration', '/', '/robots.txt', '/.well-known/caldav', '/dav/cal/x', '/auth/introspect'],
      new: ['/admin', '/admin/', '/admin/x/y', '/account/z', '/login', '/device', '/api/auth', '/api/discover/carol@example.com', '/api/live/tracing?token=x', '/.well-known/mta-sts.txt', '/.well-known/acme-challenge/abc'],
    }
    for (const [name, targets] of Object.entries(cases)) {
      for (const target of targets) assert.equal(await server(target), name, target)
    }
  })

  it('accounts are served by old throughout, on the mail ports too', async () => {
    const headers = login(STAYS)
    for (const target of ['/.well-known/jmap', '/jmap/session', '/dav/card/x', '/.well-known/carddav', '/api/principal', '/mail/config-v1.1.xml?emailaddress=dave%40example.com']) {
      assert.equal(await server(target, { headers }), 'old', target)
    }
    assert.deepEqual(await work(10, MAIL), expected('old', 10))
  })

  it('both servers learn the address of a client, by the PROXY header and by Forwarded', async () => {
    await ask('/jmap/session', { headers: { ...login(STAYS), 'X-Forwarded-For': '6.6.6.6' }, from: '127.0.30.1' })
    assert.ok(web.old.announced.has('127.0.30.1'))
    assert.equal(web.old.requests.at(-1)?.forwarded, `for=127.0.30.1;proto=https;host="127.0.0.1:${ports.get('https')}"`)
  })

  it('OAuth goes on where it began: the client decides, and the token that comes of it its account', async () => {
    for (const [client, name] of [['webadmin', 'old'], ['stalwart-webui', 'new'], ['never-heard-of', 'old']] as const) {
      const headers = { 'content-type': 'application/x-www-form-urlencoded' }
      const { device_code: code } = object((await ask('/auth/device', { headers, body: `scope=x&client_id=${client}` })).body)
      assert.equal(code, `${name}-code`)
      const grant = `grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=${code}&client_id=${client}`
      const { status, body } = await ask('/auth/token', { headers, body: grant })
      assert.equal(status, 200, body)
      // A parameter that only ends like that is none.
      assert.equal((await ask('/auth/device', { headers, body: `other_client_id=stalwart-webui&x=1` })).body.includes('old-code'), true)
    }
    assert.equal((await ask('/jmap/session', { headers: { authorization: `Bearer ${web.old.token(ACCOUNT)}` } })).status, 200)
  })

  it('a JMAP client works through it, is told of changes, and finds itself on the new server once the account is moved', async () => {
    const id = await accountId(ACCOUNT)
    const echoed = await call(ACCOUNT, ['Core/echo', { hello: 'world' }, 'c1'], ['Mailbox/get', { accountId: id, ids: null }, 'c2'], ['Mailbox/get', { accountId: id, '#ids': { resultOf: 'c2', name: 'Mailbox/get', path: '/list/*/id' }, properties: ['name'] }, 'c3'])
    assert.match(JSON.stringify(echoed), /\["Core\/echo",\{"hello":"world"\},"c1"\].*You are on old.*"c3"/)

    const bytes = randomBytes(1_000_000)
    const uploaded = object((await ask(`/jmap/upload/${id}/`, { headers: { ...login(ACCOUNT), 'content-type': 'message/rfc822' }, body: bytes })).body)
    assert.deepEqual([uploaded['size'], uploaded['blobId']], [bytes.length, createHash('sha256').update(bytes).digest('hex')])
    const download = await ask(`/jmap/download/${id}/${String(uploaded['blobId'])}/mail.eml?accept=message/rfc822`, { headers: login(ACCOUNT) })
    assert.ok(Buffer.from(download.body, 'latin1').equals(bytes))

    const events = httpsRequest({ host: '127.0.0.1', servername: 'localhost', port: ports.get('https'), ca: authority.cert, path: '/jmap/eventsource/?types=*&closeafter=no&ping=30', headers: login(ACCOUNT), agent: false })
    events.on('error', () => {})
    events.end()
    const [stream] = (await once(events, 'response')) as [IncomingMessage]
    stream.on('error', () => {})
    let told = ''
    const heard = new Promise<void>((resolve) => stream.on('data', (chunk: Buffer) => (told += chunk.toString()).includes('event: state') && resolve()))
    const streamEnded = new Promise<void>((resolve) => stream.on('close', resolve))
    const socket = webSocket()
    await once(socket, 'open')
    assert.equal(socket.protocol, 'jmap')
    const messages: string[] = []
    socket.on('message', (data: Buffer) => messages.push(data.toString()))
    socket.send(JSON.stringify({ '@type': 'WebSocketPushEnable', dataTypes: ['Mailbox'] }))
    socket.send(JSON.stringify({ '@type': 'Request', id: 'R1', using: ['urn:ietf:params:jmap:core'], methodCalls: [['Core/echo', { over: 'ws' }, 'c1']] }))
    while (messages.length < 1) await once(socket, 'message')
    assert.match(messages[0] ?? '', /"@type":"Response","requestId":"R1".*"over":"ws"/)
    await call(ACCOUNT, ['Mailbox/set', { accountId: id, create: { k: { name: 'Archive' } } }, 'c1'])
    await heard
    while (messages.length < 2) await once(socket, 'message')
    assert.match(messages[1] ?? '', /"StateChange".*"Mailbox":"2"/)

    const closed = once(socket, 'close')
    const moved = await box.admin.request('POST', '/accounts/cutover', { identifier: ACCOUNT, destination: 'new' })
    assert.equal(moved.status, 200, moved.body)
    await Promise.all([closed, streamEnded])
    assert.match(JSON.stringify(await call(ACCOUNT, ['Mailbox/get', { accountId: id, ids: null }, 'c1'])), /You are on new/)
    const again = webSocket()
    await once(again, 'open')
    assert.equal(web.new.sockets.size, 1)
    again.terminate()
    // A token of old names the account, which new has; but new has not issued it.
    assert.equal((await ask('/jmap/session', { headers: { authorization: `Bearer ${web.old.token(ACCOUNT)}` } })).status, 401)
    assert.equal((await ask('/jmap/session', { headers: { authorization: `Bearer ${web.new.token(ACCOUNT)}` } })).status, 200)
  })

  it('the moved account is set up, and read, on new; its mail ports too', async () => {
    for (const target of ['/mail/config-v1.1.xml?emailaddress=carol%40example.com', '/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=Carol@example.com']) {
      assert.equal(await server(target), 'new', target)
    }
    const discovery = (address: string): string => `<?xml version="1.0"?><Autodiscover><Request><EMailAddress>${address}</EMailAddress></Request></Autodiscover>`
    assert.equal(await server('/Autodiscover/Autodiscover.xml', { body: discovery(ACCOUNT) }), 'new')
    assert.equal(await server('/autodiscover/autodiscover.xml', { body: discovery(STAYS) }), 'old')
    assert.equal(await server('/dav/cal/carol', { method: 'PROPFIND', headers: { ...login(ACCOUNT), depth: '1' }, body: '<propfind/>' }), 'new')
    assert.deepEqual(await work(20, MAIL), expected('new', 20))
    assert.deepEqual([...web.old.failures, ...web.new.failures], [])
  })

  /** Real work of the account on each of the listeners; what came of it, by listener. The client on the n-th has the address 127.0.`net`.n. */
  async function work(net: number, listeners: readonly (keyof typeof PORTS)[]): Promise<Readonly<Record<string, unknown>>> {
    const jobs = listeners.map((name, index) => {
      const [protocol, tls] = PORTS[name]
      return { protocol, tls, port: ports.get(name), user: ACCOUNT, password: 'secret', ca: join(temporary.path, 'ca.pem'), source: `127.0.${net}.${index + 1}`, to: STAYS, subject: `${name}-${net}` }
    })
    const results = await workOfClients(jobs)
    return Object.fromEntries(listeners.map((name, index) => [name, results[index]]))
  }

  const expected = (name: string, net: number): object => ({
    imaps: `You are on the ${name} server.`,
    imap: `You are on the ${name} server.`,
    pop3s: `You are on the ${name} server.`,
    pop3: `You are on the ${name} server.`,
    sieve: 'kept',
    submissions: `submissions-${net}`,
    submission: `submission-${net}`,
    smtp: `smtp-${net}`,
  })
})
