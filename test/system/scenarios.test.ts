/**
 * The ready configurations of config/, started as they are but for addresses, ports, paths and passwords, with real servers behind and
 * beside them, and a login through each.
 */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { parse, stringify } from 'smol-toml'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority } from '../support/certificates.ts'
import { until } from '../support/fleet-rig.ts'
import { freePorts } from '../support/ports.ts'
import { PostgresServer } from '../support/postgres.ts'
import { skipWithout } from '../support/programs.ts'
import { RedisServer } from '../support/redis.ts'
import { Signalbox } from '../support/signalbox.ts'
import { POSTGRES_SCHEMA } from '../support/sql-schemas.ts'
import { StubImap } from '../support/stub-imap.ts'
import { makeTemporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

type Table = { [key: string]: unknown }

const TOKEN = '0123456789abcdef'.repeat(4)
const ACCOUNT = 'carol@example.com'

interface Started {
  readonly box: Signalbox
  readonly imaps: number
}

describe('ready configurations', () => {
  let authority: Authority
  let legacy: StubImap
  let stalwart: StubImap

  before(async () => {
    authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['localhost'] })
    legacy = await StubImap.start({ name: 'legacy', tls: 'starttls', certificate })
    stalwart = await StubImap.start({ name: 'stalwart', tls: 'implicit', certificate })
  })
  after(async () => {
    await Promise.all([legacy.stop(), stalwart.stop()])
  })

  /** Starts a file of config/, moved here: its source at `url`, further changes by path. */
  async function start(t: TestContext, name: string, changes: Readonly<Record<string, unknown>>): Promise<Started> {
    const directory = await makeTemporary('scenario')
    t.after(() => directory.remove())
    const certificate = await authority.issue({ names: ['mail.example.com', 'localhost'] })
    const [imaps = 0, imap = 0, management = 0] = await freePorts(3)
    const text = await readFile(new URL(`../../config/${name}`, import.meta.url), 'utf8')
    const document: Table = parse(text.replaceAll('/etc/signalbox/tls', directory.path).replaceAll('/etc/signalbox', directory.path))
    await writeFile(join(directory.path, 'fullchain.pem'), certificate.cert)
    await writeFile(join(directory.path, 'privkey.pem'), certificate.key, { mode: 0o600 })
    await writeFile(join(directory.path, 'ca.pem'), authority.cert)
    await writeFile(join(directory.path, 'admin.token'), TOKEN, { mode: 0o600 })
    const here = { host: '127.0.0.1', tls_server_name: 'localhost', tls_ca: join(directory.path, 'ca.pem') }
    const moved: Readonly<Record<string, unknown>> = {
      'server.threads': 2,
      'server.shutdown_grace': '1s',
      'server.log_format': 'json',
      'listener.imaps.bind': [`127.0.0.1:${imaps}`],
      'listener.imap.bind': [`127.0.0.1:${imap}`],
      ...Object.fromEntries(Object.entries(here).flatMap(([key, value]) => [[`destination.legacy.${key}`, value], [`destination.stalwart.${key}`, value]])),
      'destination.legacy.protocol.imap.port': legacy.port,
      'destination.stalwart.protocol.imap.port': stalwart.port,
      'admin.bind': `127.0.0.1:${management}`,
      ...changes,
    }
    for (const [path, value] of Object.entries(moved)) change(document, path.split('.'), value)
    const box = await Signalbox.start({
      directory: directory.path,
      config: stringify(document),
      admin: { port: management, token: TOKEN, ca: authority.cert },
      env: { SIGNALBOX_CLUSTER_SECRET: 'the same for all of these tests' },
    })
    t.after(() => box.stop())
    assert.deepEqual(box.lines.filter(({ event }) => event === 'config_warning'), [])
    return { box, imaps }
  }

  /** The server that a login through the proxy reaches. */
  async function reached({ imaps }: Started): Promise<string | undefined> {
    const client = await WireClient.connect({ port: imaps, ca: authority.cert })
    try {
      await client.until(/^\* OK .*\r\n/)
      const answer = await client.command(`a LOGIN ${ACCOUNT} secret`)
      return /^a OK .*welcome to (\w+)/m.exec(answer)?.[1] ?? answer
    } finally {
      client.destroy()
    }
  }

  async function moves(started: Started, by: () => Promise<unknown>): Promise<void> {
    assert.equal(await reached(started), 'legacy')
    await by()
    await until('the account has moved', async () => (await reached(started)) === 'stalwart')
    const removed = await started.box.admin.delete(ACCOUNT)
    assert.equal(removed.status, 200, removed.body)
    assert.equal(await reached(started), 'legacy')
    const put = await started.box.admin.put(ACCOUNT, 'stalwart')
    assert.equal(put.status, 200, put.body)
    assert.equal(await reached(started), 'stalwart')
  }

  test('redis.toml', { skip: skipWithout('redis-server') }, async (t) => {
    await using redis = await RedisServer.start()
    const started = await start(t, 'redis.toml', { 'mapping.redis.url': `${redis.url}/0` })
    await moves(started, () => redis.client().set(`route:${ACCOUNT}`, 'stalwart'))
    await started.box.stop()
  })

  test('postgres.toml', { skip: skipWithout('postgres') }, async (t) => {
    await using postgres = await PostgresServer.start()
    const hand = await postgres.hand()
    await hand.query(POSTGRES_SCHEMA)
    const started = await start(t, 'postgres.toml', { 'mapping.sql.url': postgres.url() })
    await moves(started, () => hand.query('INSERT INTO routes VALUES ($1, $2)', [ACCOUNT, 'stalwart']))
    await started.box.stop()
  })

  test('cluster.toml, on two hosts', { skip: skipWithout('redis-server') }, async (t) => {
    await using redis = await RedisServer.start()
    const url = { 'mapping.redis.url': `${redis.url}/0` }
    // The one named after this host, the other as if it were on another.
    const a = await start(t, 'cluster.toml', url)
    const b = await start(t, 'cluster.toml', { ...url, 'cluster.instance': 'the-other-host' })
    const peers = async (box: Signalbox): Promise<unknown> => ((await box.admin.stats()).json as { peers: unknown }).peers
    await until('they know each other', async () => String(await peers(a.box)) === 'the-other-host' && String(await peers(b.box)) !== '')
    assert.deepEqual([a, b].flatMap(({ box }) => box.lines.filter(({ event }) => event === 'peer_differs' || event === 'bus_doubt')), [])
    await moves(a, () => redis.client().set(`route:${ACCOUNT}`, 'stalwart'))
    assert.equal(await reached(b), 'stalwart')
    const put = await b.box.admin.put(ACCOUNT, 'legacy')
    assert.equal(put.headers['signalbox-unconfirmed'], undefined, put.body)
    assert.equal(await reached(a), 'legacy')
    await Promise.all([a.box.stop(), b.box.stop()])
  })
})

function change(document: Table, path: readonly string[], value: unknown): void {
  const [key = '', ...rest] = path
  if (rest.length === 0) {
    document[key] = value
    return
  }
  const inner = document[key]
  const table: Table = typeof inner === 'object' && inner !== null ? { ...inner } : {}
  document[key] = table
  change(table, rest, value)
}
