/**
 * Stores as operators have them: behind TLS with a CA of their own, a Redis Cluster, a database whose statements are wrong.
 * The mapping sources' own tests know more cases; here it is the configuration file that must bring them about.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { makeAuthority } from '../support/certificates.ts'
import { FleetRig, PREFIX, until } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { PostgresServer } from '../support/postgres.ts'
import { freePort } from '../support/ports.ts'
import { Premises } from '../support/premises.ts'
import { skipWithout } from '../support/programs.ts'
import { RedisServer, startRedisCluster } from '../support/redis.ts'
import { POSTGRES_SCHEMA, POSTGRES_STATEMENTS, SQLITE_SCHEMA } from '../support/sql-schemas.ts'
import { StubImap } from '../support/stub-imap.ts'
import { makeTemporary } from '../support/temporary.ts'

const skip = skipWithout('redis-server')
/** Their keys lie on all three servers of a cluster. */
const USERS = Array.from({ length: 12 }, (_, index) => `u${index * 7_919}@example.com`)

/** Two plain IMAP servers, "old" (the default one) and "new". */
async function twoServers(): Promise<{ readonly old: StubImap; readonly fresh: StubImap; readonly destinations: Record<string, number> } & AsyncDisposable> {
  const [old, fresh] = await Promise.all(['old', 'new'].map((name) => StubImap.start({ name, tls: 'plain' })))
  if (old === undefined || fresh === undefined) throw new Error('no servers')
  return {
    old,
    fresh,
    destinations: { old: old.port, new: fresh.port },
    async [Symbol.asyncDispose]() {
      await Promise.all([old.stop(), fresh.stop()])
    },
  }
}

async function landsOn(member: FleetMember, user: string): Promise<string | undefined> {
  const client = await member.greeted()
  try {
    return /welcome to (\w+)/.exec(await client.command(`a LOGIN ${user} secret`, 20_000))?.[1]
  } finally {
    client.destroy()
  }
}

/** Maps through the API, then by hand; every worker of every instance sees both although nothing expires. */
async function moves(rig: FleetRig, set: (user: string, destination: string) => Promise<unknown>): Promise<void> {
  const [a, b] = rig.pair
  for (const member of [a, b]) await until(`${member.name} watches`, async () => (await member.stat('watch')) === 'on')
  for (const user of USERS) {
    const put = await a.admin.put(user, 'old')
    assert.equal(put.status, 200, put.body)
    assert.equal(put.headers['signalbox-unconfirmed'], undefined, put.body)
    for (const member of [a, b]) {
      await until(`${member.name} has cached ${user}`, async () => ((await member.routes(user)) ?? []).every(({ source, destination }) => source === 'cache' && destination === 'old'))
    }
  }
  for (const user of USERS) await set(user, 'new')
  for (const member of [a, b]) {
    for (const user of USERS) await until(`${user} has moved for ${member.name}`, async () => (await member.destinations(user)).every((name) => name === 'new'))
    assert.equal(await landsOn(member, USERS[0] ?? ''), 'new')
  }
}

const NOTHING_EXPIRES = { settle: '0s', positive_ttl: '1h' }

describe('Redis behind TLS', { skip }, () => {
  it('with a CA of its own: lookups, writes, the watch and the bus trust that one', async () => {
    await using servers = await twoServers()
    const authority = await makeAuthority()
    await using directory = await makeTemporary('stores')
    const path = join(directory.path, 'ca.pem')
    await writeFile(path, authority.cert)
    const leaf = await authority.issue({ names: ['127.0.0.1'] })
    await using redis = await RedisServer.start({ tls: { ...leaf, ca: authority.cert } })
    const url = `rediss://127.0.0.1:${redis.port}`
    const options = { destinations: servers.destinations, mapping: NOTHING_EXPIRES, url }
    await using rig = await FleetRig.start(['a', 'b'], { ...options, redis: { tls_ca: path }, cluster: { tls_ca: path } })
    const hand = new Redis({ host: '127.0.0.1', port: redis.port, tls: { ca: authority.cert }, protocol: 2, disableClientInfo: true })
    try {
      await moves(rig, (user, destination) => hand.set(PREFIX + user, destination))
    } finally {
      hand.disconnect()
    }

    // Without it neither the source nor the bus is trusted.
    for (const trusting of [{ redis: { tls_ca: path } }, { cluster: { tls_ca: path } }]) {
      await assert.rejects(FleetRig.start(['c'], { ...options, ...trusting }), (error) => {
        assert.match(String(error), /exit 1/)
        assert.match(String(error), /self-signed certificate|unable to (get|verify)/)
        return true
      })
    }
  })
})

describe('a Redis Cluster', { skip }, () => {
  it('as source and bus of a fleet: changes by hand are seen on every primary; one that is away takes only its accounts with it', async () => {
    await using servers = await twoServers()
    await using cluster = await startRedisCluster()
    await using rig = await FleetRig.start(['a', 'b'], { destinations: servers.destinations, mapping: { ...NOTHING_EXPIRES, lookup_timeout: '1s' }, url: cluster.url })
    const hand = new Cluster(cluster.servers.map(({ port }) => ({ host: '127.0.0.1', port })), { redisOptions: { protocol: 2, disableClientInfo: true } })
    hand.on('error', () => {})
    try {
      await moves(rig, (user, destination) => hand.set(PREFIX + user, destination))
      const sizes = await Promise.all(cluster.servers.map((server) => server.client().dbsize()))
      assert.ok(sizes.every((size) => size > 0), `unevenly spread: ${sizes.join()}`)

      const [, , last] = cluster.servers
      assert.ok(last)
      last.freeze()
      for (const member of rig.members) await until(`${member.name} has lost its watch`, async () => (await member.stat('watch')) !== 'on')
      // All are doubtful; those of the frozen server keep the route that was known, and nobody goes back.
      for (const member of rig.members) for (const user of USERS) assert.equal(await landsOn(member, user), 'new', user)
      last.thaw()
      for (const member of rig.members) await until(`${member.name} watches again`, async () => (await member.stat('watch')) === 'on')
      await rig.together()
      for (const user of USERS) await hand.set(PREFIX + user, 'old')
      for (const member of rig.members) {
        for (const user of USERS) await until(`${user} is back for ${member.name}`, async () => (await member.destinations(user)).every((name) => name === 'old'))
      }
    } finally {
      hand.disconnect()
    }
  })
})

describe('a database', () => {
  it('behind TLS with a CA of its own, listed by list_query; without that statement lists are 501', { skip: skipWithout('postgres') }, async () => {
    const [authority, stranger] = [await makeAuthority(), await makeAuthority('Stranger')]
    await using server = await PostgresServer.start({ tls: await authority.issue({ names: ['127.0.0.1'] }) })
    await (await server.hand()).query(POSTGRES_SCHEMA)
    await using premises = await Premises.make()
    await writeFile(premises.at('ca.pem'), authority.cert)
    await writeFile(premises.at('stranger.pem'), stranger.cert)
    const { query, upsertQuery, deleteQuery, listQuery } = POSTGRES_STATEMENTS
    const config = (ca: string | undefined, list: boolean): string => {
      const sql = { url: server.url('sslmode=verify-full'), query, upsert_query: upsertQuery, delete_query: deleteQuery, listen: 'routes_changed' }
      return premises.config({ mapping: { source: 'sql', sql: { ...sql, ...(ca === undefined ? {} : { tls_ca: premises.at(ca) }), ...(list ? { list_query: listQuery } : {}) } } })
    }
    const box = await premises.start(config('ca.pem', true))
    assert.equal((await box.admin.put('ann@example.com', 'one')).status, 200)
    const summary = await box.admin.request('GET', '/mappings/summary')
    assert.equal(summary.status, 200, summary.body)
    assert.match(summary.body, /"destination":"one","accounts":1\b/)
    const stats = await box.admin.stats()
    assert.match(stats.body, /"watch":\s*"on"/)
    assert.deepEqual(await box.stop(), { code: 0, signal: null })

    const listless = await premises.start(config('ca.pem', false))
    const refused = await listless.admin.request('GET', '/mappings/summary')
    assert.equal(refused.status, 501, refused.body)
    assert.match(refused.body, /list_query/)
    assert.deepEqual(await listless.stop(), { code: 0, signal: null })

    for (const ca of ['stranger.pem', undefined]) {
      const distrusting = await premises.launch(config(ca, true))
      assert.deepEqual(await distrusting.exited, { code: 1, signal: null })
      assert.match(distrusting.lines.map(({ text }) => text).join('\n'), /SOURCE_UNAVAILABLE/)
    }
  })

  it('whose statements are wrong ends the start with status 2 and names them; one that is away with status 1', async () => {
    await using premises = await Premises.make()
    const hand = new DatabaseSync(premises.at('mail.db'))
    hand.exec(SQLITE_SCHEMA)
    hand.close()
    const started = async (sql: Readonly<Record<string, string>>): Promise<{ code: number | null; log: string }> => {
      const box = await premises.launch(premises.config({ mapping: { source: 'sql', sql } }))
      const { code } = await box.exited
      await premises.empty()
      return { code, log: box.lines.map(({ text }) => text).join('\n') }
    }
    const wrong = await started({
      url: `sqlite://${premises.at('mail.db')}`,
      query: 'SELECT destination FROM nowhere WHERE identifier = ?',
      upsert_query: 'INSERT INTO routes VALUES (?)',
      delete_query: 'DELETE FROM routes WHERE identifier = ?',
    })
    assert.equal(wrong.code, 2)
    assert.match(wrong.log, /CONFIG_INVALID/)
    assert.match(wrong.log, /mapping\.sql\.query: no such table: nowhere.*mapping\.sql\.upsert_query: /)
    assert.doesNotMatch(wrong.log, /delete_query/)
    const away = await started({ url: `mysql://u@127.0.0.1:${await freePort()}/mail`, query: 'SELEKT' })
    assert.equal(away.code, 1)
    assert.match(away.log, /SOURCE_UNAVAILABLE/)
  })
})
