/**
 * Another configuration for an instance at work: listeners, destinations, certificates, capabilities, workers, by request
 * and by signal, while clients log in. What must hold: no login is refused and no session is cut, and what can't be used
 * changes nothing at all.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, chown, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { parse, stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { HttpBackend } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import { freePorts } from '../support/ports.ts'
import { Premises } from '../support/premises.ts'
import { Rig } from '../support/rig.ts'
import type { RigConfig, RigOptions } from '../support/rig.ts'
import type { AdminAnswer } from '../support/signalbox.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const ROOT = process.getuid?.() === 0
const NOBODY = 65_534
const OPEN = { imap: { allow_plain_auth_without_tls: true } }

describe('another configuration', () => {
  let one: StubImap
  let two: StubImap
  let rig: Rig
  let config: Record<string, Record<string, unknown>>
  const clients: WireClient[] = []

  before(async () => {
    one = await StubImap.start({ name: 'one', tls: 'plain' })
    two = await StubImap.start({ name: 'two', tls: 'plain' })
  })
  after(async () => {
    await one.stop()
    await two.stop()
  })
  beforeEach(async () => {
    await begin()
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy()
    await rig.stop()
  })

  async function begin(options: Partial<RigOptions> = {}): Promise<void> {
    rig = await Rig.start({
      destinations: { one: { port: one.port, tls: 'plain' }, two: { port: two.port, tls: 'plain' } },
      mappings: { 'ann@example.com': 'two' },
      tables: { capabilities: OPEN },
      ...options,
    })
    config = structuredClone(rig.config)
  }

  async function reload(next: RigConfig | string = config): Promise<AdminAnswer> {
    await rig.rewrite(next)
    return rig.admin.request('POST', '/config/reload')
  }

  /** A reload that must succeed; gives its answer. */
  async function reloaded(next: RigConfig = config): Promise<{ changed: string[]; restart: string[]; note: string; workers: number }> {
    const answer = await reload(next)
    assert.equal(answer.status, 200, answer.body)
    const json = answer.json as { reloaded: boolean; changed: string[]; restart: string[]; note: string; workers: number; workers_expected: number }
    assert.equal(json.reloaded, true)
    assert.equal(json.workers, json.workers_expected)
    return json
  }

  async function greeted(port: number): Promise<WireClient> {
    const client = await WireClient.connect({ port })
    clients.push(client)
    await client.until(/^\* OK .*\r\n/)
    return client
  }

  /** Of the certificate that is shown there. */
  async function fingerprint(port: number): Promise<string> {
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca: rig.authority.cert })
    await once(socket, 'secureConnect')
    const { fingerprint256 } = socket.getPeerCertificate()
    socket.destroy()
    return fingerprint256
  }

  async function workersAre(count: number): Promise<void> {
    for (let tries = 0; rig.box.workers().size !== count; tries++) {
      assert.ok(tries < 600, `${rig.box.workers().size} workers instead of ${count}`)
      await systemClock.sleep(25)
    }
  }

  async function login(port: number, user = 'bob@example.com'): Promise<WireClient> {
    const client = await greeted(port)
    const answer = await client.command(`a LOGIN ${user} secret`)
    assert.match(answer, /^a OK/m)
    return client
  }

  /** Logs in again and again until it is stopped, some at a time; gives how many succeeded and what went wrong. */
  function load(port: number, users: readonly string[] = ['bob@example.com', 'ann@example.com']): { stop(): Promise<{ served: number; errors: string[] }> } {
    const over = new AbortController()
    let served = 0
    const errors: string[] = []
    const runs = Array.from({ length: 6 }, async (_, index) => {
      while (!over.signal.aborted) {
        try {
          const client = await WireClient.connect({ port })
          try {
            await client.until(/^\* OK .*\r\n/)
            const answer = await client.command(`a LOGIN ${users[index % users.length]} secret`)
            if (/^a OK/m.test(answer)) served++
            else errors.push(answer)
          } finally {
            client.destroy()
          }
        } catch (error) {
          errors.push(String(error))
        }
      }
    })
    return {
      async stop() {
        over.abort()
        await Promise.all(runs)
        return { served, errors }
      },
    }
  }

  async function refusesConnections(port: number): Promise<void> {
    await assert.rejects(WireClient.connect({ port }), /ECONNREFUSED/)
  }

  it('that is the same changes nothing', async () => {
    const { changed, restart, note } = await reloaded()
    assert.deepEqual([changed, restart, note], [[], [], 'Nothing has changed.'])
  })

  it('opens the first listener for HTTP, which its workers were started without', async () => {
    await using pages = await HttpBackend.start('pages')
    const [port = 0] = await freePorts(1)
    config['listener'] = { ...config['listener'], web: { protocol: 'http', bind: [`127.0.0.1:${port}`], tls: 'plain' } }
    const destination = { host: '127.0.0.1', allow_plaintext_auth: true, forwarding: 'none', protocol: { http: { port: pages.port, tls: 'plain' } } }
    config['destination'] = { ...config['destination'], pages: destination }
    config['http'] = { route: [{ match: '/page', destination: 'pages' }] }
    const { changed } = await reloaded()
    assert.ok(changed.includes('listener "web" added'), changed.join())
    const client = await WireClient.connect({ port })
    clients.push(client)
    client.send('GET /page HTTP/1.1\r\nHost: here\r\n\r\n')
    await client.until(/pages GET \/page 0\n/)
    await login(rig.imap)
  })

  it("moves a listener's port and opens another, while sessions go on and nobody is refused", async () => {
    const session = await login(rig.imap)
    const logins = load(rig.imap)
    const [moved = 0, more = 0] = await freePorts(2)
    config['listener'] = {
      ...config['listener'],
      imaps: { ...(config['listener']?.['imaps'] as object), bind: [`127.0.0.1:${moved}`] },
      more: { ...(config['listener']?.['imap'] as object), bind: [`127.0.0.1:${more}`] },
    }
    const { changed } = await reloaded()
    assert.deepEqual(changed, ['listener "more" added', 'listener "imaps"'])
    await refusesConnections(rig.imaps)
    const client = await WireClient.connect({ port: moved, ca: rig.authority.cert })
    clients.push(client)
    await client.until(/^\* OK .*\r\n/)
    await login(more)
    assert.match(await session.command('b NOOP'), /this is one/)
    const { served, errors } = await logins.stop()
    assert.deepEqual(errors, [])
    assert.ok(served > 0)
  })

  it('shows the certificate that is in force to new connections, and leaves the others what they have', async () => {
    const session = await rig.loggedIn('bob@example.com')
    clients.push(session)
    const before = await fingerprint(rig.imaps)
    const issued = await rig.authority.issue({ names: ['localhost', '127.0.0.1'] })
    await writeFile(join(rig.directory, 'cert.pem'), issued.cert)
    await writeFile(join(rig.directory, 'key.pem'), issued.key)
    assert.deepEqual((await reloaded()).changed, ['tls'])
    const now = await fingerprint(rig.imaps)
    assert.notEqual(now, before)
    assert.equal(await fingerprint(rig.management), now)
    assert.match(await session.command('b NOOP'), /this is one/)
  })

  it('offers other capabilities to new connections', async () => {
    const old = await greeted(rig.imap)
    config['capabilities'] = { imap: { ...OPEN.imap, banner: 'Another house', advertise: ['IMAP4rev1', 'ID'] } }
    assert.deepEqual((await reloaded()).changed, ['capabilities'])
    const client = await greeted(rig.imap)
    assert.match(client.received, /Another house/)
    assert.doesNotMatch(await client.command('a CAPABILITY'), /SASL-IR/)
    assert.match(await old.command('a CAPABILITY'), /SASL-IR/)
    assert.match(await old.command('b LOGIN bob@example.com secret'), /^b OK/m)
  })

  it('knows another destination at once, and its mappings with it', async () => {
    const three = await StubImap.start({ name: 'three', tls: 'plain' })
    try {
      const session = await login(rig.imap, 'ann@example.com')
      config['destination'] = { ...config['destination'], three: { ...(config['destination']?.['one'] as object), protocol: { imap: { port: three.port, tls: 'plain' } } } }
      await writeFile(rig.mappingPath, 'ann@example.com\tthree\nbob@example.com\tthree\n')
      // The file names a destination that is not declared yet: by itself it would be refused.
      assert.equal((await rig.admin.request('POST', '/mappings/reload')).status, 422)
      assert.deepEqual((await reloaded()).changed, ['destination "three" added'])
      for (const user of ['ann@example.com', 'bob@example.com']) {
        assert.match(await (await login(rig.imap, user)).command('b NOOP'), /this is three/)
      }
      assert.match(await session.command('b NOOP'), /this is two/)
      assert.equal((await rig.admin.put('cid@example.com', 'three')).status, 200)
    } finally {
      await three.stop()
    }
  })

  it('without a destination: its sessions go on, its accounts go to the default', async () => {
    const session = await login(rig.imap, 'ann@example.com')
    const logins = load(rig.imap, ['bob@example.com'])
    config['destination'] = { one: config['destination']?.['one'] }
    // The file still names it: a mistake, as at the start.
    const refused = await reload()
    assert.equal(refused.status, 400, refused.body)
    assert.deepEqual(mistakesIn(refused).length, 1)
    assert.match(mistakesIn(refused)[0] ?? '', /mappings, line 1: .*"two"/)
    assert.match(await (await login(rig.imap, 'ann@example.com')).command('b NOOP'), /this is two/)
    await writeFile(rig.mappingPath, '')
    assert.deepEqual((await reloaded()).changed, ['destination "two" removed'])
    assert.match(await (await login(rig.imap, 'ann@example.com')).command('b NOOP'), /this is one/)
    assert.match(await session.command('b NOOP'), /this is two/)
    assert.equal((await rig.admin.put('ann@example.com', 'two')).status, 400)
    assert.deepEqual((await logins.stop()).errors, [])
  })

  it('that is broken is refused with every mistake, and nothing changes', async () => {
    const session = await login(rig.imap)
    const logins = load(rig.imap)
    const broken = structuredClone(config)
    broken['server'] = { ...broken['server'], thread: 3 }
    broken['listener'] = { ...broken['listener'], more: { protocol: 'imap', bind: ['127.0.0.1:1'], tls: 'never' } }
    broken['routing'] = { default_destination: 'nowhere' }
    const answer = await reload(broken)
    assert.equal(answer.status, 400, answer.body)
    const mistakes = mistakesIn(answer)
    for (const path of ['server.thread', 'listener.more.tls', 'routing.default_destination']) {
      assert.ok(mistakes.some((mistake) => mistake.startsWith(`${path}: `)), mistakes.join('\n'))
    }
    const text = await rig.admin.request('POST', '/config/reload', {}, false)
    assert.deepEqual(text.body.trimEnd().split('\n').slice(1), mistakes)
    assert.equal((await reload('no = [TOML')).status, 400)
    const refused = await rig.box.line(({ event }) => event === 'config_refused')
    assert.deepEqual(refused['mistakes'], mistakes)
    await login(rig.imap)
    assert.match(await session.command('b NOOP'), /this is one/)
    assert.deepEqual((await logins.stop()).errors, [])
  })

  it('whose address somebody else has is refused, and nothing changes', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port: taken } = other.address() as AddressInfo
    const [free = 0] = await freePorts(1)
    config['listener'] = {
      imap: config['listener']?.['imap'],
      more: { ...(config['listener']?.['imap'] as object), bind: [`127.0.0.1:${free}`, `127.0.0.1:${taken}`] },
    }
    config['capabilities'] = { imap: { ...OPEN.imap, banner: 'Another house' } }
    const answer = await reload()
    assert.equal(answer.status, 400, answer.body)
    assert.match(mistakesIn(answer).join('\n'), new RegExp(`^listener "more" cannot listen on 127\\.0\\.0\\.1:${taken}: [^\\n]*EADDRINUSE[^\\n]*$`))
    await refusesConnections(free)
    const client = await greeted(rig.imap)
    assert.doesNotMatch(client.received, /Another house/)
    await rig.greeted().then((there) => clients.push(there))
    await new Promise((resolve) => other.close(resolve))
    // The next one, with the address free, is not hindered by what was prepared for this one.
    await reloaded()
    await login(free)
    await refusesConnections(rig.imaps)
  })

  it('that needs a restart is named, and the rest of it is in force', async () => {
    config['server'] = { ...config['server'], distribution: 'kernel', log_level: 'warn', log_format: 'pretty' }
    config['admin'] = { ...config['admin'], bind: `127.0.0.1:${(await freePorts(1))[0] ?? 0}` }
    config['cluster'] = { instance: 'another' }
    config['mapping'] = { ...config['mapping'], positive_ttl: '1s', file: { path: join(rig.directory, 'elsewhere') } }
    const { changed, restart, note } = await reloaded()
    assert.deepEqual(changed, ['server.log_level', 'mapping'])
    assert.deepEqual(restart, ['server.distribution', 'server.log_format', 'mapping.file.path', 'admin.bind', 'cluster.instance'])
    assert.match(note, /Left as it was until a restart: server\.distribution, /)
    const lines = rig.box.lines.length
    await login(rig.imap)
    assert.deepEqual(rig.box.lines.slice(lines).filter(({ event }) => event === 'login'), [])
  })

  it('starts more workers and drains those that are too many, while nobody is refused', async () => {
    const sessions = await Promise.all(Array.from({ length: 4 }, () => login(rig.imap)))
    const logins = load(rig.imap)
    const old = new Set(rig.box.workers().values())
    config['server'] = { ...config['server'], threads: 3 }
    assert.deepEqual((await reloaded()).changed, ['server.threads'])
    await workersAre(3)
    assert.equal([...rig.box.workers().values()].filter((pid) => old.has(pid)).length, 2)
    config['server'] = { ...config['server'], threads: 1 }
    await reloaded()
    for (const session of sessions) assert.match(await session.command('b NOOP'), /this is one/)
    const { errors } = await logins.stop()
    assert.deepEqual(errors, [])
    for (const session of sessions.splice(0)) session.destroy()
    await workersAre(1)
    await login(rig.imap)
  })

  it('comes by a signal, too', async () => {
    const session = await login(rig.imap)
    const [more = 0] = await freePorts(1)
    config['listener'] = { ...config['listener'], more: { ...(config['listener']?.['imap'] as object), bind: [`127.0.0.1:${more}`] } }
    await rig.rewrite(config)
    rig.box.signal('SIGHUP')
    const line = await rig.box.line(({ event }) => event === 'config_reloaded')
    assert.deepEqual([line['by'], line['changed'], line['workers']], ['signal', ['listener "more" added'], 2])
    await login(more)
    await rig.rewrite('[server]\nthreads = "many"\n')
    rig.box.signal('SIGHUP')
    const refused = await rig.box.line(({ event }) => event === 'config_refused')
    assert.ok(Number(refused['count']) > 1, JSON.stringify(refused))
    await login(more)
    assert.match(await session.command('b NOOP'), /this is one/)
  })

  it('comes again and again under logins, and no login is refused', async () => {
    const logins = load(rig.imap)
    const [first = 0, second = 0] = await freePorts(2)
    for (let round = 0; round < 6; round++) {
      config['listener'] = {
        ...config['listener'],
        // Another state of the listener that is being used, and one that comes and goes.
        imap: { ...(config['listener']?.['imap'] as object), max_auth_attempts: 3 + round },
        imaps: { ...(config['listener']?.['imaps'] as object), bind: [`127.0.0.1:${round % 2 === 0 ? first : second}`] },
      }
      config['limits'] = { auth_failure_delay: `${round + 1}s` }
      await reloaded()
    }
    const { served, errors } = await logins.stop()
    assert.deepEqual(errors, [])
    assert.ok(served > 0)
  })

  it('a signal replaces every worker: nobody is refused, and sessions go on in the old ones', async () => {
    const sessions = await Promise.all(Array.from({ length: 6 }, () => login(rig.imap)))
    const waiting = await greeted(rig.imap)
    const old = new Set(rig.box.workers().values())
    const logins = load(rig.imap)
    rig.box.signal('SIGUSR2')
    await rig.box.line(({ event }) => event === 'rolled')
    const { served, errors } = await logins.stop()
    assert.deepEqual(errors, [])
    assert.ok(served > 0)
    for (const session of sessions) assert.match(await session.command('b NOOP'), /this is one/)
    assert.match(await waiting.command('a LOGIN bob@example.com secret'), /^a OK/m)
    // A change still reaches those who are about to end.
    assert.equal((await rig.admin.put('bob@example.com', 'two')).status, 200)
    waiting.destroy()
    for (const session of sessions) session.destroy()
    await workersAre(2)
    assert.deepEqual([...rig.box.workers().values()].filter((pid) => old.has(pid)), [])
    const ended = rig.box.lines.filter(({ event }) => event === 'worker_exited')
    assert.deepEqual(ended.map(({ expected }) => expected), [true, true])
  })

  it('sessions of a replaced worker end when roll_grace is over, or with the instance', async () => {
    config['server'] = { ...config['server'], roll_grace: '1s' }
    assert.deepEqual((await reloaded()).changed, ['server.roll_grace'])
    const session = await login(rig.imap)
    rig.box.signal('SIGUSR2')
    await rig.box.line(({ event }) => event === 'rolled')
    await session.untilClosed()
    config['server'] = { ...config['server'], roll_grace: '1h' }
    await reloaded()
    const other = await login(rig.imap)
    const lines = rig.box.lines.length
    rig.box.signal('SIGUSR2')
    await rig.box.line(({ event }) => event === 'rolled', undefined, lines)
    assert.match(await other.command('b NOOP'), /this is one/)
    assert.deepEqual(await rig.box.stop(), { code: 0, signal: null })
  })
})

describe('another configuration for workers that listen by themselves', () => {
  it('replaces them for other listeners: nobody is refused where nothing changes', async () => {
    const one = await StubImap.start({ name: 'one', tls: 'plain' })
    const rig = await Rig.start({
      destinations: { one: { port: one.port, tls: 'plain' } },
      tables: { capabilities: OPEN, server: { distribution: 'kernel' } },
    })
    const clients: WireClient[] = []
    const login = async (port: number): Promise<WireClient> => {
      const client = await WireClient.connect({ port })
      clients.push(client)
      await client.until(/^\* OK .*\r\n/)
      assert.match(await client.command('a LOGIN bob@example.com secret'), /^a OK/m)
      return client
    }
    try {
      const session = await login(rig.imap)
      const old = new Set(rig.box.workers().values())
      const [more = 0] = await freePorts(1)
      const config: Record<string, Record<string, unknown>> = structuredClone(rig.config)
      config['listener'] = { ...config['listener'], more: { ...(config['listener']?.['imap'] as object), bind: [`127.0.0.1:${more}`] } }
      await rig.rewrite(config)
      const answer = await rig.admin.request('POST', '/config/reload')
      assert.equal(answer.status, 200, answer.body)
      assert.match(answer.body, /"rolling":true/)
      const over = new AbortController()
      const running = (async () => {
        while (!over.signal.aborted) (await login(rig.imap)).destroy()
      })()
      await rig.box.line(({ event }) => event === 'rolled')
      over.abort()
      await running
      await login(more)
      assert.match(await session.command('b NOOP'), /this is one/)
      for (const client of clients) client.destroy()
      for (let tries = 0; [...rig.box.workers().values()].some((pid) => old.has(pid)); tries++) {
        assert.ok(tries < 400, 'the old workers end')
        await systemClock.sleep(25)
      }
    } finally {
      for (const client of clients) client.destroy()
      await rig.stop()
      await one.stop()
    }
  })
})

describe('another configuration for requests', () => {
  it('routes those of new connections by new rules; a kept connection ends with its next request', async () => {
    await using older = await HttpBackend.start('old')
    await using newer = await HttpBackend.start('new')
    await using rig = await startHttpRig({
      destinations: { old: { port: older.port }, new: { port: newer.port } },
      routes: [{ match: '/page', destination: 'old' }],
    })
    const ask = async (client: WireClient): Promise<string> => {
      const had = client.received.length
      client.send('GET /page HTTP/1.1\r\nHost: here\r\n\r\n')
      await client.until(/(old|new) GET \/page 0\n/)
      return client.received.slice(had)
    }
    const kept = await WireClient.connect({ port: rig.plain })
    try {
      assert.match(await ask(kept), /X-Backend: old\r\n/i)
      const config = parse(await readFile(rig.box.path, 'utf8'))
      await writeFile(rig.box.path, stringify({ ...config, http: { route: [{ match: '/page', destination: 'new' }] } }))
      const answer = await rig.admin.request('POST', '/config/reload')
      assert.equal(answer.status, 200, answer.body)
      assert.match(answer.body, /"changed":\["http"\]/)
      const fresh = await WireClient.connect({ port: rig.plain })
      assert.match(await ask(fresh), /X-Backend: new\r\n/i)
      fresh.destroy()
      assert.match(await ask(kept), /connection: close\r\n/i)
      await kept.untilClosed()
    } finally {
      kept.destroy()
    }
  })
})

describe('another configuration after root was given up', { skip: ROOT ? false : 'needs root' }, () => {
  it('may have new listeners, but none that only root may have: that is refused, and says what it takes', async () => {
    const ASIDE = '127.0.0.9'
    const stub = await StubImap.start({ name: 'one', tls: 'plain' })
    await using premises = await Premises.make({ backend: stub.port, bind: { host: ASIDE, imaps: 993, imap: 143 } })
    for (const name of ['', 'cert.pem', 'key.pem', 'token', 'mappings']) await chown(premises.at(name), NOBODY, NOBODY)
    const server = { threads: 1, user: 'nobody', shutdown_grace: '1s', log_format: 'json' }
    const box = await premises.start(premises.config({ server }))
    await chmod(box.path, 0o644)
    const [free = 0] = await freePorts(1)
    const more = async (port: number): Promise<AdminAnswer> => {
      const config = parse(await readFile(box.path, 'utf8'))
      const listener = config['listener'] as Record<string, Record<string, unknown>>
      await writeFile(box.path, stringify({ ...config, listener: { ...listener, more: { ...listener['imap'], bind: [`${ASIDE}:${port}`] } } }))
      return box.admin.request('POST', '/config/reload')
    }
    const refused = await more(995)
    assert.equal(refused.status, 400, refused.body)
    assert.match(mistakesIn(refused).join('\n'), /^listener "more" cannot listen on 127\.0\.0\.9:995: .*EACCES.*\(for that a restart, or CAP_NET_BIND_SERVICE, is needed\)$/)
    assert.equal((await more(free)).status, 200)
    // The privileged sockets that were there from the start stay.
    for (const port of [143, free]) {
      const client = await WireClient.connect({ host: ASIDE, port })
      await client.until(/^\* OK .*\r\n/)
      client.destroy()
    }
    assert.deepEqual(await box.stop(), { code: 0, signal: null })
    await stub.stop()
  })
})

/** What is wrong, as the answer lists it. */
function mistakesIn({ json }: AdminAnswer): string[] {
  assert.ok(typeof json === 'object' && json !== null && 'mistakes' in json && Array.isArray(json.mistakes))
  return json.mistakes.map(String)
}
