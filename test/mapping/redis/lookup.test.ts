/** Lookups against a real Redis that is stopped, frozen, cut off, filled with nonsense. */
import assert from 'node:assert/strict'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { after, before, describe, test, type TestContext } from 'node:test'
import { systemClock } from '../../../src/clock.ts'
import { SignalboxError, type ErrorCode } from '../../../src/errors.ts'
import { LOOKUPS_IN_FLIGHT, MAPPING_VALUE, REDIS_REPLY } from '../../../src/limits.ts'
import { openRedisLookup, type RedisLookupOptions } from '../../../src/mapping/redis/lookup.ts'
import type { MappingLookup } from '../../../src/mapping/source.ts'
import { makeAuthority } from '../../support/certificates.ts'
import { closedAfter } from '../../support/closing.ts'
import { skipWithout } from '../../support/programs.ts'
import { RedisServer } from '../../support/redis.ts'
import { soon } from '../../support/soon.ts'
import { KeptLog } from '../../support/source-log.ts'
import { TcpProxy } from '../../support/tcp-proxy.ts'

const skip = skipWithout('redis-server')

function options(url: string, more: Partial<RedisLookupOptions> = {}): RedisLookupOptions {
  return { url, keyPrefix: 'route:', connections: 2, lookupTimeout: 5_000, clock: systemClock, log: new KeptLog(), ...more }
}

const opened = (t: TestContext, how: RedisLookupOptions): Promise<MappingLookup> => closedAfter(t, openRedisLookup(how))

function coded(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SignalboxError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  }
}

describe('lookups at a healthy Redis', { skip }, () => {
  let server: RedisServer
  before(async () => {
    server = await RedisServer.start()
  })
  after(() => server[Symbol.asyncDispose]())

  test('the value under prefix and identifier is the destination; missing and empty are no mapping', async (t) => {
    const hand = server.client()
    await hand.mset('route:a@example.com', 'alpha', 'route:empty', '', 'b@example.com', 'without prefix')
    const lookup = await opened(t, options(server.url))
    assert.equal(await lookup.lookup('a@example.com'), 'alpha')
    assert.equal(await lookup.lookup('empty'), undefined)
    assert.equal(await lookup.lookup('b@example.com'), undefined)
  })

  test('identifiers full of what other programs take for syntax are plain bytes', async (t) => {
    const hand = server.client()
    const lookup = await opened(t, options(server.url))
    for (const identifier of ['a*b', '[a]', '__proto__', 'constructor', '{a}b', "'; DROP", 'é@ü', '\\r\\nFLUSHALL']) {
      await hand.set(`route:${identifier}`, `to ${identifier}`)
      assert.equal(await lookup.lookup(identifier), `to ${identifier}`)
    }
  })

  test('a thousand at once all get their own answer', async (t) => {
    const hand = server.client()
    const names = Array.from({ length: 1_000 }, (_, index) => `many${index}`)
    await hand.mset(names.flatMap((name) => [`route:${name}`, `d-${name}`]))
    const lookup = await opened(t, options(server.url, { connections: 4 }))
    assert.deepEqual(await Promise.all(names.map((name) => lookup.lookup(name))), names.map((name) => `d-${name}`))
  })

  test('a key that holds no string is an error, never "no mapping", and a warning names it once', async (t) => {
    const hand = server.client()
    await hand.hset('route:hash', 'a', 'b')
    const log = new KeptLog()
    const lookup = await opened(t, options(server.url, { log, redact: (account) => `<${account}>` }))
    await assert.rejects(lookup.lookup('hash'), coded('SOURCE_INVALID'))
    await assert.rejects(lookup.lookup('hash'), coded('SOURCE_INVALID'))
    assert.deepEqual(log.of('mapping_unreadable').map((line) => line.fields), [
      { event: 'mapping_unreadable', reason: 'its key holds no string', account: '<hash>' },
    ])
  })

  test(`a value of ${MAPPING_VALUE} bytes is read, one more is an error`, async (t) => {
    const hand = server.client()
    const fits = 'ü'.repeat(MAPPING_VALUE / 2)
    await hand.mset('route:fits', fits, 'route:long', `${fits}x`)
    const lookup = await opened(t, options(server.url))
    assert.equal(await lookup.lookup('fits'), fits)
    await assert.rejects(lookup.lookup('long'), coded('SOURCE_INVALID'))
  })

  test('a giant value is an error for its account alone: lookups on the same connection are answered', async (t) => {
    const hand = server.client()
    await hand.set('route:giant', Buffer.alloc(REDIS_REPLY * 20, 'x'))
    await hand.set('route:ordinary', 'alpha')
    const lookup = await opened(t, options(server.url))
    const giant = assert.rejects(lookup.lookup('giant'), coded('SOURCE_INVALID'))
    const others = await Promise.all(Array.from({ length: 50 }, () => lookup.lookup('ordinary')))
    assert.deepEqual(new Set(others), new Set(['alpha']))
    await giant
    assert.equal(await lookup.lookup('ordinary'), 'alpha')
  })

  test('so many lookups are under way and no more: the next one fails at once, and there is room when they are answered', async (t) => {
    const lookup = await opened(t, options(server.url, { lookupTimeout: 20_000 }))
    server.freeze()
    const held = Array.from({ length: LOOKUPS_IN_FLIGHT }, () => lookup.lookup('nobody'))
    await assert.rejects(lookup.lookup('nobody'), { code: 'SOURCE_UNAVAILABLE', message: /are under way already/ })
    server.thaw()
    assert.deepEqual(new Set(await Promise.all(held)), new Set([undefined]))
    assert.equal(await lookup.lookup('nobody'), undefined)
  })

  test('after close nothing is looked up, and what was under way has been answered', async (t) => {
    const lookup = await opened(t, options(server.url))
    const asked = lookup.lookup('nobody')
    await lookup.close()
    assert.equal(await asked, undefined)
    await assert.rejects(lookup.lookup('nobody'), coded('SOURCE_UNAVAILABLE'))
  })
})

describe('permissions and passwords', { skip }, () => {
  test('an ACL user with GET on the prefix alone is enough, and a wrong password is told without the password', async (t) => {
    await using server = await RedisServer.start({ args: ['--requirepass', 'administrator'] })
    const hand = server.client({ password: 'administrator' })
    await hand.acl('SETUSER', 'mail', 'on', '>S3cret', '~route:*', '+get', '+strlen')
    await hand.set('route:a', 'alpha')
    const lookup = await opened(t, options(`redis://mail:S3cret@127.0.0.1:${server.port}`))
    assert.equal(await lookup.lookup('a'), 'alpha')

    const log = new KeptLog()
    await assert.rejects(openRedisLookup(options(`redis://mail:WrongOne@127.0.0.1:${server.port}`, { log })), (error) => {
      assert.ok(coded('SOURCE_UNAVAILABLE')(error))
      assert.match(String(error), /WRONGPASS/)
      assert.doesNotMatch(inspectDeep(error) + log.text, /WrongOne/)
      return true
    })
  })

  test('the database of the URL is the one that is asked', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    await hand.select(3)
    await hand.set('route:a', 'third')
    const lookup = await opened(t, options(`${server.url}/3`))
    assert.equal(await lookup.lookup('a'), 'third')
  })
})

describe('TLS', { skip }, () => {
  test('the right authority opens, a wrong one and a wrong name do not', async (t) => {
    const authority = await makeAuthority()
    const stranger = await makeAuthority('Stranger')
    const leaf = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    await using server = await RedisServer.start({ tls: { ...leaf, ca: authority.cert } })
    const lookup = await opened(t, options(`rediss://127.0.0.1:${server.port}`, { ca: authority.cert }))
    assert.equal(await lookup.lookup('a'), undefined)
    const opening = openRedisLookup(options(`rediss://127.0.0.1:${server.port}`, { ca: stranger.cert }))
    await assert.rejects(opening, (error) => coded('SOURCE_UNAVAILABLE')(error) && /certificate/.test(String(error)))
    await assert.rejects(openRedisLookup(options(`rediss://127.0.0.1:${server.port}`)), coded('SOURCE_UNAVAILABLE'))

    const other = await authority.issue({ names: ['elsewhere.example.com'] })
    await using impostor = await RedisServer.start({ tls: { ...other, ca: authority.cert } })
    const name = openRedisLookup(options(`rediss://127.0.0.1:${impostor.port}`, { ca: authority.cert }))
    await assert.rejects(name, (error) => coded('SOURCE_UNAVAILABLE')(error) && /altnames/.test(String(error)))
  })
})

describe('lookups at a Redis in trouble', { skip }, () => {
  test('away at start: refused, naming the reason', async () => {
    const server = await RedisServer.start()
    await server[Symbol.asyncDispose]()
    await assert.rejects(openRedisLookup(options(server.url)), (error) => {
      return coded('SOURCE_UNAVAILABLE')(error) && /ECONNREFUSED/.test(String(error))
    })
  })

  test('away at start and allowed: lookups fail at once, and work when it is there', async (t) => {
    await using server = await RedisServer.start()
    await server.stop()
    const lookup = await opened(t, options(server.url, { allowUnavailable: true, lookupTimeout: 60_000 }))
    await assert.rejects(lookup.lookup('a'), coded('SOURCE_UNAVAILABLE'))
    await server.start()
    await soon('a lookup after the start', () => lookup.lookup('a').then(() => true, () => false))
  })

  test('stopped and started again: lookups fail meanwhile, and then work by themselves', async (t) => {
    await using server = await RedisServer.start()
    const lookup = await opened(t, options(server.url))
    await server.stop()
    await soon('the loss to be noticed', () => lookup.lookup('a').then(() => false, () => true))
    await server.start()
    const hand = server.client()
    await hand.set('route:a', 'again')
    assert.equal(await soon('a lookup', () => lookup.lookup('a').catch(() => undefined)), 'again')
  })

  test('frozen: a lookup fails when its time is over, and everything works after the thaw', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    await hand.set('route:a', 'alpha')
    const lookup = await opened(t, options(server.url, { lookupTimeout: 300 }))
    server.freeze()
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => lookup.lookup('a')))
    for (const result of results) {
      assert.equal(result.status, 'rejected')
      assert.ok(coded('SOURCE_TIMEOUT')(result.reason))
    }
    // Silent connections are given up: soon no further lookup waits behind them.
    await soon('lookups that fail at once', () => {
      return lookup.lookup('a').catch((error: unknown) => error instanceof SignalboxError && error.code === 'SOURCE_UNAVAILABLE')
    })
    server.thaw()
    assert.equal(await soon('a lookup', () => lookup.lookup('a').catch(() => undefined)), 'alpha')
  })

  test('one connection killed under its lookups: they are asked again on another one', async (t) => {
    await using server = await RedisServer.start()
    await using proxy = await TcpProxy.open({ port: server.port })
    const hand = server.client()
    await hand.set('route:a', 'alpha')
    const lookup = await opened(t, options(`redis://127.0.0.1:${proxy.port}`, { connections: 2 }))
    proxy.pause()
    // In two turns of the event loop: one on each connection.
    const asked = [lookup.lookup('a')]
    await new Promise((resolve) => setImmediate(resolve))
    asked.push(lookup.lookup('a'))
    const ids = await server.clientsNamed('signalbox-lookup')
    assert.equal(ids.length, 2)
    await hand.client('KILL', 'ID', ids[0] ?? '')
    await soon('the end of one', () => server.clientsNamed('signalbox-lookup').then((names) => names.length === 1))
    proxy.resume()
    assert.deepEqual(await Promise.all(asked), ['alpha', 'alpha'])
  })

  test('a network that refuses and comes back is connected through again', async (t) => {
    await using server = await RedisServer.start()
    await using proxy = await TcpProxy.open({ port: server.port })
    const lookup = await opened(t, options(`redis://127.0.0.1:${proxy.port}`))
    proxy.refuse()
    await soon('the loss to be noticed', () => lookup.lookup('a').then(() => false, () => true))
    const before = proxy.accepted
    await soon('tries to reconnect', () => proxy.accepted > before)
    proxy.accept()
    await soon('a lookup', () => lookup.lookup('a').then(() => true, () => false))
  })
})

describe('a server that lies', () => {
  test('a reply of REDIS_REPLY bytes leaves the connection as it is, one byte more costs it', async (t) => {
    let size = 0
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => {}).on('close', () => sockets.delete(socket))
      socket.on('data', (bytes) => {
        for (const line of bytes.toString().split('*').slice(1)) {
          const framing = `$${size}\r\n\r\n`.length
          socket.write(size > 0 && /get/i.test(line) ? `$${size - framing}\r\n${'x'.repeat(size - framing)}\r\n` : '$-1\r\n')
        }
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.after(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    const { port } = server.address() as AddressInfo
    const lookup = await opened(t, options(`redis://127.0.0.1:${port}`, { connections: 1 }))
    assert.equal(await lookup.lookup('a'), undefined)
    const [used] = sockets
    size = REDIS_REPLY
    await assert.rejects(lookup.lookup('a'), coded('SOURCE_INVALID'))
    size = 0
    assert.equal(await lookup.lookup('a'), undefined)
    assert.deepEqual([...sockets], [used])
    size = REDIS_REPLY + 1
    await assert.rejects(lookup.lookup('a'), (error) => error instanceof SignalboxError && error.side === 'source')
    await soon('the connection is dropped', () => used !== undefined && !sockets.has(used))
  })

  for (const [what, answer] of [
    ['an array without end', `*1000000000\r\n${'$1\r\na\r\n'.repeat(10)}`],
    ['a string without end', '$536870912\r\nxxxx'],
    ['a line without end', `+${'x'.repeat(REDIS_REPLY + 1)}`],
    ['no RESP at all', 'HTTP/1.1 200 OK\r\n\r\n'],
    ['a number', ':42\r\n'],
    ['an array', '*1\r\n$1\r\na\r\n'],
  ] as const) {
    test(`${what} settles the lookup and ends nothing else`, async (t) => {
      let lying = false
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket)
        socket.on('error', () => {})
        socket.on('data', (bytes) => {
          for (const line of bytes.toString().split('*').slice(1)) socket.write(lying && /get/i.test(line) ? answer : '$-1\r\n')
        })
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as AddressInfo
      const lookup = await opened(t, options(`redis://127.0.0.1:${port}`, { lookupTimeout: 500, connections: 1 }))
      assert.equal(await lookup.lookup('a'), undefined)
      lying = true
      await lookup.lookup('a').then(
        (value) => assert.fail(`resolved with ${String(value)}`),
        (error: unknown) => assert.ok(error instanceof SignalboxError && error.side === 'source', String(error)),
      )
      lying = false
      await soon('an honest answer', () => lookup.lookup('a').then(() => true, () => false))
        for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    })
  }
})

/** Everything that a logger could find in an error, however deep. */
function inspectDeep(error: unknown): string {
  const seen = new Set<unknown>()
  const walk = (value: unknown): string => {
    if (typeof value !== 'object' || value === null) return String(value)
    if (seen.has(value)) return ''
    seen.add(value)
    return Object.getOwnPropertyNames(value).map((name) => `${name}=${walk(Reflect.get(value, name))}`).join(' ')
  }
  return walk(error)
}
