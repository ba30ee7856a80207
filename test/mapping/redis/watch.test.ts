/** What others do to a real Redis reaches the source's listener, and what could have been missed reaches it as doubt. */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import type { Redis } from 'ioredis'
import { systemClock } from '../../../src/clock.ts'
import { REDIS_HANDSHAKE_MS, WATCH_REFUSED_MS, WATCH_SILENCE } from '../../../src/limits.ts'
import { openRedisSource, type RedisSource, type RedisSourceOptions } from '../../../src/mapping/redis/source.ts'
import { parseRedisUrl } from '../../../src/config/redis-url.ts'
import { makeWatchClient } from '../../../src/mapping/redis/connection.ts'
import { RedisWatch } from '../../../src/mapping/redis/watch.ts'
import type { Changed } from '../../../src/mapping/source.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { skipWithout } from '../../support/programs.ts'
import { RedisServer, startRedisCluster } from '../../support/redis.ts'
import { soon } from '../../support/soon.ts'
import { KeptLog } from '../../support/source-log.ts'
import { TcpProxy } from '../../support/tcp-proxy.ts'

const skip = skipWithout('redis-server')

type Change = Changed | { readonly doubt: true; readonly reason: string }

class Heard {
  readonly source: RedisSource
  readonly log: KeptLog
  readonly changes: Change[] = []

  constructor(source: RedisSource, log: KeptLog) {
    this.source = source
    this.log = log
    source.onChange((change) => this.changes.push(change))
  }

  get identifiers(): string[] {
    return this.changes.flatMap((change) => ('identifiers' in change ? change.identifiers : []))
  }

  get all(): number {
    return this.changes.filter((change) => 'all' in change && change.all).length
  }

  get doubts(): string[] {
    return this.changes.flatMap((change) => ('doubt' in change ? [change.reason] : []))
  }

  hears(identifier: string): Promise<unknown> {
    return soon(`the change of ${identifier}`, () => this.identifiers.includes(identifier))
  }

  /** The pair was lost and is up again. */
  async remade(): Promise<void> {
    await soon('doubt about the loss', () => this.doubts.some((reason) => reason.startsWith('the watch was lost')))
    await soon('doubt about the time without a watch', () => this.doubts.includes('the watch was made anew'))
    assert.equal(this.source.watch, 'on')
  }
}

async function watched(t: TestContext, url: string, more: Partial<RedisSourceOptions> = {}): Promise<Heard> {
  const log = new KeptLog()
  const source = await openRedisSource({
    url,
    keyPrefix: 'route:',
    lookupTimeout: 2_000,
    clock: systemClock,
    log,
    watch: true,
    heartbeat: 100,
    waitReplicas: 0,
    ...more,
  })
  t.after(() => source.close())
  return new Heard(source, log)
}

/** After a change by hand, the same must arrive as an invalidation. */
async function stillHears(heard: Heard, hand: Redis): Promise<void> {
  const name = `probe${heard.changes.length}`
  await hand.set(`route:${name}`, 'x')
  await heard.hears(name)
}

describe('the watch', { skip }, () => {
  test('SET, DEL, RENAME, expiry and a transaction by hand are heard, keys outside the prefix are not', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url)
    assert.equal(heard.source.watch, 'on')

    await hand.set('route:set', 'a')
    await heard.hears('set')
    await hand.del('route:set')
    await soon('the removal', () => heard.identifiers.filter((name) => name === 'set').length === 2)
    await hand.set('route:old', 'a')
    await heard.hears('old')
    heard.changes.length = 0
    await hand.rename('route:old', 'route:new')
    await Promise.all([heard.hears('old'), heard.hears('new')])
    await hand.set('route:short', 'a', 'PX', 20)
    await heard.hears('short')
    await soon('the expiry', () => heard.identifiers.filter((name) => name === 'short').length === 2)
    await hand.multi().set('route:one', 'a').set('other:two', 'b').set('route:three', 'c').exec()
    await Promise.all([heard.hears('one'), heard.hears('three')])
    assert.ok(!heard.identifiers.some((name) => name.includes('two')))
    assert.deepEqual(heard.doubts, [])
  })

  test('FLUSHDB and FLUSHALL mean everything', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url)
    await hand.set('route:a', 'a')
    await hand.flushdb()
    await soon('everything', () => heard.all === 1)
    await hand.flushall()
    await soon('everything again', () => heard.all === 2)
  })

  test('several keys in one message all arrive; more than are worth naming mean everything', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    // The script keeps the server busy for longer than three short heartbeats would allow.
    const heard = await watched(t, server.url, { heartbeat: 5_000 })
    const names = Array.from({ length: 500 }, (_, index) => `many${index}`)
    await hand.mset(names.flatMap((name) => [`route:${name}`, 'x']))
    await soon('all of them', () => new Set(heard.identifiers).size === 500)
    assert.ok(heard.changes.length < 500, 'they came one by one')
    await hand.eval(`for i = 1, 100100 do redis.call('SET', 'route:script' .. i, 'x') end`, 0)
    await soon('everything', () => heard.all === 1)
  })

  test('keys that are the bare prefix or no UTF-8 are passed over, and what comes with them is not', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url)
    const broken = Buffer.concat([Buffer.from('route:'), Buffer.from([0xff, 0xfe])])
    await hand.multi().set('route:', 'x').set(broken, 'x').set('route:\ufefféü', 'x').exec()
    await heard.hears('\ufefféü')
    assert.deepEqual(new Set(heard.identifiers), new Set(['\ufefféü']))
  })

  test('a prefix of pattern characters is taken literally', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url, { keyPrefix: 'r[a]*:' })
    await hand.mset('r[a]*:yes', 'x', 'ra:no', 'x')
    await heard.hears('yes')
    assert.deepEqual(heard.identifiers, ['yes'])
    assert.deepEqual(Array.from(await heard.source.summary()), [['x', 1]])
  })

  test('the source’s own writes are heard too', async (t) => {
    await using server = await RedisServer.start()
    const heard = await watched(t, server.url)
    await heard.source.put('a', 'alpha')
    await heard.hears('a')
  })

  for (const [what, name] of [['subscriber', 'signalbox-watch'], ['tracker', 'signalbox-tracker']] as const) {
    test(`the ${what} killed: noticed, both made anew, everything doubtful twice, changes heard again`, async (t) => {
      await using server = await RedisServer.start()
      const hand = server.client()
      const heard = await watched(t, server.url)
      const before = [...(await server.clientsNamed('signalbox-watch')), ...(await server.clientsNamed('signalbox-tracker'))]
      assert.equal(before.length, 2)
      const [id] = await server.clientsNamed(name)
      await hand.client('KILL', 'ID', id ?? '')
      await heard.remade()
      const after = [...(await server.clientsNamed('signalbox-watch')), ...(await server.clientsNamed('signalbox-tracker'))]
      assert.equal(after.length, 2)
      assert.ok(!after.some((one) => before.includes(one)), 'one of the pair was kept')
      await stillHears(heard, hand)
      assert.equal(heard.log.of('watch_lost').length, 1)
      assert.equal(heard.log.of('watch_up').length, 1)
    })
  }

  test('tracking turned off behind our back is noticed at a heartbeat', async (t) => {
    await using server = await RedisServer.start()
    await using proxy = await TcpProxy.open({ port: server.port })
    const hand = server.client()
    const heard = await watched(t, `redis://127.0.0.1:${proxy.port}`)
    // The subscriber's server side is gone, its client side doesn't know: the network in between keeps it.
    const [subscriber] = await server.clientsNamed('signalbox-watch')
    proxy.pause()
    await hand.client('KILL', 'ID', subscriber ?? '')
    await soon('the loss', () => heard.source.watch !== 'on')
    proxy.resume()
    await heard.remade()
    await stillHears(heard, hand)
  })

  test('a network that swallows everything is noticed by the silence', async (t) => {
    await using server = await RedisServer.start()
    await using proxy = await TcpProxy.open({ port: server.port })
    const hand = server.client()
    const heard = await watched(t, `redis://127.0.0.1:${proxy.port}`)
    proxy.pause()
    await hand.set('route:missed', 'x')
    await soon('the silence', () => heard.doubts.length > 0)
    assert.equal(heard.source.watch, 'unavailable')
    assert.match(heard.doubts[0] ?? '', new RegExp(`no answer within ${100 * WATCH_SILENCE} ms`))
    proxy.cut()
    proxy.resume()
    await heard.remade()
    await stillHears(heard, hand)
  })

  test('a server that refuses is asked again at pauses that grow to WATCH_REFUSED_MS, and no further', async (t) => {
    await using server = await RedisServer.start()
    await server.client().call('ACL', 'SETUSER', 'default', '-client|tracking')
    const pauses: number[] = []
    class Pauses extends FakeClock {
      override after(ms: number, callback: () => void): ReturnType<FakeClock['after']> {
        if (ms !== REDIS_HANDSHAKE_MS) pauses.push(ms)
        return super.after(ms, callback)
      }
    }
    const clock = new Pauses()
    const target = parseRedisUrl(server.url)
    const connect = (name: string): Redis => makeWatchClient({ target, clock: systemClock, name })
    const watch = new RedisWatch({ servers: () => [{ id: 'one', connect }], prefix: 'route:', clock, log: new KeptLog(), heartbeat: 1_000, onChange: () => {} })
    t.after(() => watch.close())
    await watch.open()
    // Doubling from 50 ms: before the fourteenth try it would be beyond twice the bound, whatever the jitter.
    for (let tries = 1; tries < 14; tries++) {
      await soon(`refusal ${tries}`, () => pauses.length === tries)
      clock.advance(pauses.at(-1) ?? 0)
    }
    await soon('the last refusal', () => pauses.length === 14)
    const last = pauses.at(-1) ?? 0
    assert.ok(last >= WATCH_REFUSED_MS / 2 && last <= WATCH_REFUSED_MS, String(last))
  })

  test('a frozen Redis is noticed, and watched again after the thaw', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url)
    server.freeze()
    await soon('the silence', () => heard.doubts.length > 0)
    server.thaw()
    await heard.remade()
    await stillHears(heard, hand)
  })

  test('a restarted Redis is watched again', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url)
    await server.stop()
    await soon('the loss', () => heard.source.watch === 'unavailable')
    await server.start()
    await heard.remade()
    await stillHears(heard, hand)
  })

  test('Redis away at start: everything is doubtful once the watch is up, because nobody listened before', async (t) => {
    await using server = await RedisServer.start()
    await server.stop()
    const heard = await watched(t, server.url, { allowUnavailable: true })
    assert.equal(heard.source.watch, 'unavailable')
    await server.start()
    await soon('doubt', () => heard.doubts.includes('the watch was made anew'))
    await stillHears(heard, server.client())
  })

  for (const [what, rule] of [
    ['CLIENT', ['-client']],
    ['the channel of invalidations', ['resetchannels']],
    ['SUBSCRIBE', ['-subscribe']],
  ] as const) {
    test(`a user without the permission for ${what}: one warning, watch unavailable, everything else works`, async (t) => {
      await using server = await RedisServer.start()
      const hand = server.client()
      await hand.acl('SETUSER', 'mail', 'on', '>pw', '~*', '&*', '+@all', ...rule)
      const heard = await watched(t, `redis://mail:pw@127.0.0.1:${server.port}`)
      assert.equal(heard.source.watch, 'unavailable')
      await heard.source.put('a', 'alpha')
      assert.equal(await heard.source.lookup('a'), 'alpha')
      // It is asked again, quietly; once permitted, it works.
      await hand.acl('SETUSER', 'mail', 'on', '>pw', '~*', '&*', '+@all')
      await soon('the watch', () => heard.source.watch === 'on')
      assert.equal(heard.log.of('watch_unavailable').length, 1)
      assert.ok(!heard.log.text.includes('pw@'))
      await stillHears(heard, hand)
    })
  }

  test('switched off: no connection for it, no change heard, the state says so', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url, { watch: false })
    assert.equal(heard.source.watch, 'off')
    await hand.set('route:a', 'x')
    assert.deepEqual(await server.clientsNamed('signalbox-watch'), [])
    assert.deepEqual(heard.changes, [])
  })

  test('closed: nothing is left at the server', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const heard = await watched(t, server.url)
    await heard.source.close()
    await soon('an empty list', () => server.clientsNamed('signalbox').then((ids) => ids.length === 0))
    await hand.set('route:a', 'x')
    assert.deepEqual(heard.changes, [])
    assert.equal(heard.source.watch, 'off')
  })

  test('in a cluster every primary is watched', async (t) => {
    await using cluster = await startRedisCluster()
    const heard = await watched(t, cluster.url)
    assert.equal(heard.source.watch, 'on')
    const names = Array.from({ length: 60 }, (_, index) => `user${index}@example.com`)
    for (const name of names) await heard.source.put(name, 'alpha')
    await soon('all of them', () => names.every((name) => heard.identifiers.includes(name)))
    for (const server of cluster.servers) assert.equal((await server.clientsNamed('signalbox-watch')).length, 1)

    const [first] = cluster.servers
    assert.ok(first)
    const [id] = await first.clientsNamed('signalbox-watch')
    await first.client().client('KILL', 'ID', id ?? '')
    await heard.remade()
  })
})
