/** Writes, imports and exports of a real Redis; replicas, sentinels, a cluster. */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { systemClock } from '../../../src/clock.ts'
import { openRedisLookup } from '../../../src/mapping/redis/lookup.ts'
import { openRedisSource, type RedisSource, type RedisSourceOptions } from '../../../src/mapping/redis/source.ts'
import type { Mapping } from '../../../src/mapping/source.ts'
import { hasCode } from '../../conformance/mapping-source.ts'
import { closedAfter } from '../../support/closing.ts'
import { skipWithout } from '../../support/programs.ts'
import { RedisServer, startRedisCluster, startRedisGroup } from '../../support/redis.ts'
import { soon } from '../../support/soon.ts'
import { KeptLog } from '../../support/source-log.ts'
import { TcpProxy } from '../../support/tcp-proxy.ts'

const skip = skipWithout('redis-server')

function opened(t: TestContext, url: string, more: Partial<RedisSourceOptions> = {}): Promise<RedisSource> {
  return closedAfter(t, openRedisSource({
    url,
    keyPrefix: 'route:',
    lookupTimeout: 2_000,
    clock: systemClock,
    log: new KeptLog(),
    watch: false,
    heartbeat: 200,
    waitReplicas: 0,
    ...more,
  }))
}

async function all(mappings: AsyncIterable<Mapping>): Promise<Mapping[]> {
  const found: Mapping[] = []
  for await (const mapping of mappings) found.push(mapping)
  return found
}

describe('a Redis source', { skip }, () => {
  test('exports leave out what is no mapping, and a giant value costs nothing', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    await hand.mset('route:good', 'alpha', 'route:', 'bare', 'other:x', 'foreign', 'route:empty', '')
    await hand.set(Buffer.concat([Buffer.from('route:'), Buffer.from([0xff])]), 'broken')
    await hand.rpush('route:list', 'a')
    await hand.set('route:giant', Buffer.alloc(50_000_000, 'x'))
    const source = await opened(t, server.url)
    assert.deepEqual(await all(source.export()), [{ identifier: 'good', destination: 'alpha' }])
    assert.deepEqual(await source.summary(), new Map([['alpha', 1]]))
  })

  test('pages in order of the bytes, whatever order the server has', async (t) => {
    await using server = await RedisServer.start()
    const source = await opened(t, server.url)
    const names = ['a', 'aa', 'b', 'ä', '\uffee', '😀']
    await source.import([...names].reverse().map((identifier) => ({ identifier, destination: 'alpha' })), 'merge')
    const seen: string[] = []
    for (;;) {
      const page = await all(source.export({ after: seen.at(-1) ?? '', limit: 2 }))
      if (page.length === 0) break
      seen.push(...page.map(({ identifier }) => identifier))
    }
    assert.deepEqual(seen, names)
  })

  test('a replacing import removes keys of other types under the prefix, and nothing outside it', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    await hand.rpush('route:list', 'a')
    await hand.set('other:x', 'foreign')
    const source = await opened(t, server.url)
    await source.import([{ identifier: 'a', destination: 'alpha' }], 'replace')
    assert.deepEqual((await hand.keys('*')).sort(), ['other:x', 'route:a'])
  })

  test('without a prefix a replacing import is refused: it would remove what is not ours', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    await hand.set('foreign', 'x')
    const source = await opened(t, server.url, { keyPrefix: '' })
    await assert.rejects(source.import([], 'replace'), hasCode('SOURCE_READ_ONLY'))
    assert.equal(await hand.get('foreign'), 'x')
  })

  test('a server that refuses writes: SOURCE_WRITE, lookups go on', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const source = await opened(t, server.url)
    await source.put('a', 'alpha')
    await hand.config('SET', 'maxmemory', '1')
    await assert.rejects(source.put('a', 'beta'), hasCode('SOURCE_WRITE'))
    assert.equal(await source.lookup('a'), 'alpha')
  })

  test('a write without an answer ends in time, and the next one works when the network does', async (t) => {
    await using server = await RedisServer.start()
    await using proxy = await TcpProxy.open({ port: server.port })
    const source = await opened(t, `redis://127.0.0.1:${proxy.port}`, { lookupTimeout: 300 })
    proxy.pause()
    await assert.rejects(source.put('a', 'alpha'), hasCode('SOURCE_TIMEOUT'))
    proxy.cut()
    proxy.resume()
    await soon('a write', () => source.put('a', 'beta').then(() => true, () => false))
    assert.equal(await soon('a lookup', () => source.lookup('a').catch(() => undefined)), 'beta')
  })

  test('Redis away: writes fail at once, with the reason', async (t) => {
    await using server = await RedisServer.start()
    const source = await opened(t, server.url)
    await server.stop()
    await soon('the loss', () => source.put('a', 'alpha').then(() => false, hasCode('SOURCE_UNAVAILABLE')))
    await assert.rejects(source.put('a', 'alpha'), (error) => hasCode('SOURCE_UNAVAILABLE')(error) && /ECONNREFUSED|closed/.test(String(error)))
    await assert.rejects(all(source.export()), hasCode('SOURCE_UNAVAILABLE'))
  })
})

describe('replication', { skip }, () => {
  test('with waitReplicas a write that reaches them is confirmed, and one that does not says so', async (t) => {
    await using group = await startRedisGroup()
    const source = await opened(t, group.primary.url, { waitReplicas: 1, lookupTimeout: 3_000 })
    await source.put('a', 'alpha')
    assert.equal(await group.replica.client().get('route:a'), 'alpha')
    assert.equal(await source.delete('a'), true)
    assert.equal(await source.delete('a'), false)
    await source.import([{ identifier: 'b', destination: 'beta' }], 'merge')

    group.replica.freeze()
    await assert.rejects(source.put('a', 'alpha'), hasCode('SOURCE_NOT_REPLICATED'))
    assert.equal(await source.lookup('a'), 'alpha', 'it is written all the same')
    await assert.rejects(source.delete('a'), hasCode('SOURCE_NOT_REPLICATED'))
    group.replica.thaw()
    await soon('a confirmed write', () => source.put('a', 'beta').then(() => true, () => false))
  })

  test('sentinels: after a failover lookups, writes and the watch are at the new primary', async (t) => {
    await using group = await startRedisGroup()
    const source = await opened(t, group.url, { watch: true, waitReplicas: 1 })
    const lookup = await closedAfter(t, openRedisLookup({
      url: group.url,
      keyPrefix: 'route:',
      lookupTimeout: 2_000,
      clock: systemClock,
      log: new KeptLog(),
      connections: 2,
    }))
    const heard: string[] = []
    const doubts: string[] = []
    source.onChange((change) => {
      if ('doubt' in change) doubts.push(change.reason)
      else if (!change.all) heard.push(...change.identifiers)
    })
    assert.equal(source.watch, 'on')
    await source.put('a', 'alpha')
    assert.equal(await lookup.lookup('a'), 'alpha')

    const sentinel = group.sentinel.client()
    await soon('the sentinel to know the replica', async () => {
      return /num-slaves,1\b/.test(String(await sentinel.call('SENTINEL', 'MASTER', 'mygroup')))
    })
    await group.primary.stop()
    await soon('the lookup to come from the new primary', () => lookup.lookup('a').then((found) => found === 'alpha', () => false))
    const hand = group.replica.client()
    await soon('a write at the new primary', async () => {
      const error = await source.put('b', 'beta').then(() => undefined, (thrown: unknown) => thrown)
      // Alone it has no replica: written, and said not to be replicated.
      return hasCode('SOURCE_NOT_REPLICATED')(error)
    })
    assert.equal(await hand.get('route:b'), 'beta')
    assert.equal(await lookup.lookup('b'), 'beta')
    await soon('the watch at the new primary', () => source.watch === 'on')
    assert.ok(doubts.length >= 2)
    await hand.set('route:c', 'gamma')
    await soon('the change of c', () => heard.includes('c'))
  })
})

describe('a cluster', { skip }, () => {
  test('lookups, writes, imports, exports and waiting work over three primaries', async (t) => {
    await using cluster = await startRedisCluster()
    const source = await opened(t, cluster.url)
    const mappings = Array.from({ length: 3_000 }, (_, index) => ({ identifier: `user${index}@example.com`, destination: `d${index % 3}` }))
    const { added } = await source.import(mappings, 'merge')
    assert.equal(added, 3_000)
    const sizes = await Promise.all(cluster.servers.map((server) => server.client().dbsize()))
    assert.ok(sizes.every((size) => size > 500), `unevenly spread: ${sizes.join()}`)
    assert.deepEqual(new Map(await source.summary()), new Map([['d0', 1_000], ['d1', 1_000], ['d2', 1_000]]))
    assert.equal((await all(source.export())).length, 3_000)

    const lookup = await closedAfter(t, openRedisLookup({
      url: cluster.url,
      keyPrefix: 'route:',
      lookupTimeout: 5_000,
      clock: systemClock,
      log: new KeptLog(),
      connections: 2,
    }))
    const found = await Promise.all(mappings.map(({ identifier }) => lookup.lookup(identifier)))
    assert.deepEqual(found, mappings.map(({ destination }) => destination))

    const { removed } = await source.import(mappings.slice(0, 1_000), 'replace')
    assert.equal(removed, 2_000)
    assert.equal(await lookup.lookup('user2000@example.com'), undefined)

    const waiting = await opened(t, cluster.url, { waitReplicas: 1, lookupTimeout: 500 })
    await assert.rejects(waiting.put('user0@example.com', 'moved'), hasCode('SOURCE_NOT_REPLICATED'))
    assert.equal(await lookup.lookup('user0@example.com'), 'moved')
  })

  test('one primary frozen: its accounts fail in time, the others are answered', async (t) => {
    await using cluster = await startRedisCluster()
    const lookup = await closedAfter(t, openRedisLookup({
      url: cluster.url,
      keyPrefix: 'route:',
      lookupTimeout: 500,
      clock: systemClock,
      log: new KeptLog(),
      connections: 1,
    }))
    const names = Array.from({ length: 30 }, (_, index) => `user${index}`)
    await Promise.all(names.map((name) => lookup.lookup(name)))
    cluster.servers[0]?.freeze()
    const results = await Promise.allSettled(names.map((name) => lookup.lookup(name)))
    cluster.servers[0]?.thaw()
    assert.ok(results.some(({ status }) => status === 'fulfilled'))
    assert.ok(results.some(({ status }) => status === 'rejected'))
    await soon('all of them', async () => {
      const again = await Promise.allSettled(names.map((name) => lookup.lookup(name)))
      return again.every(({ status }) => status === 'fulfilled')
    })
  })
})
