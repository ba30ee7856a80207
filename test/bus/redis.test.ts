/** The bus over real Redis servers and broken networks: what arrives, what is said of what doesn't, what comes back. */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { RedisTransport } from '../../src/bus/redis.ts'
import type { RedisTransportOptions } from '../../src/bus/redis.ts'
import { systemClock } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'
import { BUS_BACKLOG, FRAME } from '../../src/limits.ts'
import { Actor } from '../support/bus-member.ts'
import { makeAuthority } from '../support/certificates.ts'
import { freePort } from '../support/ports.ts'
import { skipWithout } from '../support/programs.ts'
import { RedisServer, startRedisCluster, startRedisGroup } from '../support/redis.ts'
import { soon } from '../support/soon.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

const skip = skipWithout('redis-server')
const HEARTBEAT = 200
const DEADLINE = 2_000

class End {
  readonly transport: RedisTransport
  readonly heard: string[] = []
  resubscriptions = 0

  constructor(t: TestContext, url: string, more: Partial<RedisTransportOptions> = {}) {
    this.transport = new RedisTransport({ url, clock: systemClock, heartbeat: HEARTBEAT, ...more })
    t.after(() => this.transport.close())
  }

  open(allowUnavailable = false, channels = ['x:frames', 'x:to:me']): Promise<boolean> {
    const listener = {
      frame: (channel: string, bytes: Buffer) => this.heard.push(`${channel} ${bytes.toString('latin1')}`),
      resubscribed: () => this.resubscriptions++,
    }
    return this.transport.open(channels, listener, allowUnavailable)
  }

  say(text: string, channel = 'x:frames'): Promise<void> {
    return this.transport.publish(channel, Buffer.from(text, 'latin1'), DEADLINE)
  }

  hears(text: string): Promise<unknown> {
    return soon(`"${text}"`, () => this.heard.includes(text))
  }

  /** It has come back by itself and hears what it says. */
  async back(times = 1): Promise<void> {
    await soon('a new subscription', () => this.resubscriptions >= times)
    assert.equal(this.transport.trouble(), undefined)
    const word = `back ${times}`
    await this.say(word)
    await this.hears(`x:frames ${word}`)
  }
}

async function opened(t: TestContext, url: string, more: Partial<RedisTransportOptions> = {}): Promise<End> {
  const end = new End(t, url, more)
  assert.equal(await end.open(), true)
  return end
}

/** Every kind of failure must keep quiet about this. */
const PASSWORD = 'hushhush'

function quiet(error: unknown): SignalboxError {
  assert.ok(error instanceof SignalboxError)
  assert.ok(!JSON.stringify([error.message, error.stack, error.cause]).includes(PASSWORD))
  return error
}

describe('the bus over Redis', { skip }, () => {
  test('bytes arrive as they were sent, on the channels asked for and no others, in order', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url)
    const b = await opened(t, server.url)
    const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    await a.transport.publish('x:frames', every, DEADLINE)
    await b.hears(`x:frames ${every.toString('latin1')}`)
    await a.say('nobody', 'x:to:other')
    b.heard.length = 0
    const words = Array.from({ length: 500 }, (_, index) => `x:${index % 7 === 0 ? 'to:me' : 'frames'} ${index}`)
    await Promise.all(words.map((word) => a.say(word.split(' ')[1] ?? '', word.split(' ')[0])))
    await b.hears(words.at(-1) ?? '')
    assert.deepEqual(b.heard, words)
    assert.equal(await a.transport.subscribers('x:frames', DEADLINE), 2)
    assert.equal(await a.transport.subscribers('x:nothing', DEADLINE), 0)
    assert.equal(a.transport.trouble(), undefined)
  })

  test('closing is final: idempotent, publishing fails, no connection is left', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url)
    await Promise.all([a.transport.close(), a.transport.close()])
    await assert.rejects(a.say('late'), { code: 'BUS_DOWN' })
    await soon('no connection', async () => (await server.clientsNamed('signalbox-bus')).length === 0)
    assert.equal(await a.transport.subscribers('x:frames', DEADLINE), undefined)
  })

  test('closing while opening ends it', async (t) => {
    await using server = await RedisServer.start()
    server.freeze()
    const a = new End(t, server.url)
    const opening = a.open(true)
    opening.catch(() => {})
    await a.transport.close()
    await assert.rejects(opening, { code: 'BUS_DOWN' })
    server.thaw()
  })

  test('nobody there: BUS_DOWN at once; allowed, it goes on trying and tells when it is there', async (t) => {
    const port = await freePort()
    const url = `redis://user:${PASSWORD}@127.0.0.1:${port}`
    await assert.rejects(new End(t, url).open(), (error) => quiet(error).code === 'BUS_DOWN')
    const a = new End(t, `redis://127.0.0.1:${port}`)
    assert.equal(await a.open(true), false)
    await assert.rejects(a.say('early'), { code: 'BUS_DOWN' })
    assert.match(a.transport.trouble() ?? '', /ECONNREFUSED/)
    await using server = await RedisServer.start({ port })
    await a.back()
    assert.equal(server.port, port)
  })

  test('the server is killed and started again: publishing fails at once meanwhile, then it hears again', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url)
    await server.stop()
    await soon('the loss', () => a.transport.trouble() !== undefined)
    await assert.rejects(a.say('lost'), { code: 'BUS_DOWN' })
    await server.start()
    await a.back()
    assert.ok(!a.heard.includes('x:frames lost'))
    await server.stop()
    await server.start()
    await a.back(2)
  })

  test('the server stands still: publishing fails by its deadline; when it goes on the subscription is made anew', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url)
    server.freeze()
    await assert.rejects(a.transport.publish('x:frames', Buffer.from('stuck'), 50), { code: 'BUS_DOWN' })
    await soon('the silence to be noticed', () => a.transport.trouble() !== undefined)
    assert.match(a.transport.trouble() ?? '', /no answer within 600 ms/)
    server.thaw()
    await a.back()
  })

  test('what a standing server has not taken is bounded', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url, { heartbeat: 60_000 })
    server.freeze()
    const large = Buffer.alloc(FRAME)
    const fits = Math.floor(BUS_BACKLOG / FRAME)
    const sent = Array.from({ length: fits }, () => a.transport.publish('x:nobody', large, 20_000))
    await assert.rejects(a.say('one more'), { code: 'BUS_DOWN', message: /has not taken/ })
    server.thaw()
    await Promise.all(sent)
    await a.say('again')
    await a.hears('x:frames again')
  })

  test('CLIENT KILL of the subscriber, or of the publisher: both are made anew', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url)
    const hand = server.client()
    for (const [index, name] of ['subscriber', 'publisher'].entries()) {
      const [id] = await server.clientsNamed(`signalbox-bus-${name}`)
      await hand.client('KILL', 'ID', id ?? '')
      await a.back(index + 1)
    }
    await soon('one pair', async () => (await server.clientsNamed('signalbox-bus')).length === 2)
  })

  test('a network that swallows everything is noticed, though nothing was said', async (t) => {
    await using server = await RedisServer.start()
    await using network = await TcpProxy.open({ port: server.port })
    const a = await opened(t, `redis://127.0.0.1:${network.port}`)
    network.pause()
    await soon('the silence to be noticed', () => a.transport.trouble() !== undefined)
    network.cut()
    network.resume()
    await a.back()
  })

  test('no password, a wrong one, channels that are not ours, commands that are not ours: BUS_REFUSED, without the password', async (t) => {
    await using server = await RedisServer.start({ args: ['--requirepass', PASSWORD] })
    const hand = server.client({ password: PASSWORD })
    await hand.call('ACL', 'SETUSER', 'elsewhere', 'on', `>${PASSWORD}`, '+@all', '~*', 'resetchannels', '&other:*')
    await hand.call('ACL', 'SETUSER', 'deaf', 'on', `>${PASSWORD}`, '+@all', '-subscribe', '~*', '&*')
    await hand.call('ACL', 'SETUSER', 'mute', 'on', `>${PASSWORD}`, '+@all', '-publish', '~*', '&*')
    const at = `127.0.0.1:${server.port}`
    for (const user of ['', 'user:wrong@', `elsewhere:${PASSWORD}@`, `deaf:${PASSWORD}@`]) {
      for (const allowUnavailable of [false, true]) {
        const end = new End(t, `redis://${user}${at}`)
        await assert.rejects(end.open(allowUnavailable), (error) => quiet(error).code === 'BUS_REFUSED', user)
      }
    }
    const mute = await opened(t, `redis://mute:${PASSWORD}@${at}`)
    await assert.rejects(mute.say('a word'), (error) => quiet(error).code === 'BUS_REFUSED')
    const member = await opened(t, `redis://:${PASSWORD}@${at}/3`)
    await member.say('in')
    await member.hears('x:frames in')
  })

  test('a permission that is taken away ends hearing; given again, it comes back', async (t) => {
    await using server = await RedisServer.start()
    const hand = server.client()
    const give = (...rules: string[]): Promise<unknown> => hand.call('ACL', 'SETUSER', 'bus', 'on', `>${PASSWORD}`, '+@all', '~*', ...rules)
    await give('&x:*')
    const a = await opened(t, `redis://bus:${PASSWORD}@127.0.0.1:${server.port}`)
    // The server drops those who are subscribed to what they may not hear any more.
    await give('resetchannels')
    await soon('the refusal', () => /NOPERM/.test(a.transport.trouble() ?? ''))
    assert.ok(!(a.transport.trouble() ?? '').includes(PASSWORD))
    await give('&x:*')
    await a.back()
  })

  test('a message beyond every frame costs a connection, not the memory', async (t) => {
    await using server = await RedisServer.start()
    const a = await opened(t, server.url, { heartbeat: 60_000 })
    const hand = server.client()
    await hand.publish('x:frames', Buffer.alloc(FRAME))
    await soon('one that fits', () => a.heard.length === 1)
    await hand.publish('x:frames', Buffer.alloc(FRAME + 8_192))
    await a.back()
    assert.ok(a.heard.every((text) => text.length <= FRAME + 20))
  })

  test('over TLS certificate and name are verified', async (t) => {
    const authority = await makeAuthority()
    const { cert, key } = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    await using server = await RedisServer.start({ tls: { cert, key, ca: authority.cert } })
    const url = `rediss://localhost:${server.port}`
    const a = await opened(t, url, { ca: authority.cert })
    await a.say('sealed')
    await a.hears('x:frames sealed')
    const stranger = await makeAuthority('Another CA')
    for (const ca of [stranger.cert, undefined]) {
      await assert.rejects(new End(t, url, ca === undefined ? {} : { ca }).open(), { code: 'BUS_DOWN', message: /certificate/ })
    }
    const other = await authority.issue({ names: ['elsewhere.example'] })
    await using wrong = await RedisServer.start({ tls: { ...other, ca: authority.cert } })
    await assert.rejects(new End(t, `rediss://localhost:${wrong.port}`, { ca: authority.cert }).open(), { code: 'BUS_DOWN', message: /altnames/ })
  })

  test('in a cluster any node will do, and another when it is gone; subscribers are not counted', async (t) => {
    await using cluster = await startRedisCluster()
    const [first] = cluster.servers
    const a = await opened(t, cluster.url)
    const turned = cluster.url.replace(/\/\/([^,]*),(.*)$/, '//$2,$1')
    const b = await opened(t, turned)
    await a.say('across')
    await b.hears('x:frames across')
    assert.equal(await a.transport.subscribers('x:frames', DEADLINE), undefined)
    await first?.stop()
    await a.back()
    await b.hears('x:frames back 1')
  })

  test('behind sentinels it follows the primary', async (t) => {
    await using group = await startRedisGroup()
    const a = await opened(t, group.url)
    await group.primary.stop()
    await a.back()
    const hand = group.replica.client()
    const counted: unknown = await hand.call('PUBSUB', 'NUMSUB', 'x:frames')
    assert.deepEqual(counted, ['x:frames', 1])
  })

  test('a URL that is none is refused, without what is secret in it', () => {
    const make = (): RedisTransport => new RedisTransport({ url: `redis://u:${PASSWORD}@h:99999`, clock: systemClock, heartbeat: 1 })
    assert.throws(make, (error) => quiet(error).code === 'CONFIG_INVALID')
  })
})

describe('members over a real Redis', { skip }, () => {
  async function member(t: TestContext, url: string, name: string, epoch: number): Promise<Actor> {
    const transport = new RedisTransport({ url, clock: systemClock, heartbeat: HEARTBEAT })
    const actor = new Actor(undefined, systemClock, name, epoch, { transport, cluster: { heartbeat: HEARTBEAT } })
    t.after(() => actor.member.close())
    await actor.join()
    return actor
  }

  test('changes are obeyed and confirmed; through the death and return of the server nothing is missed in silence', async (t) => {
    await using server = await RedisServer.start()
    const a = await member(t, server.url, 'a', 1)
    const b = await member(t, server.url, 'b', 2)
    const kick = { kind: 'kick', identifier: 'carol' } as const
    assert.deepEqual(await a.member.publish(kick), [{ instance: 'b', acknowledged: true, count: 3 }])
    await assert.rejects(member(t, server.url, 'a', 3), { code: 'BUS_NAME_TAKEN' })
    assert.deepEqual([a.doubts, b.doubts], [[], []])

    await server.stop()
    await soon('both to be down', () => a.member.state === 'down' && b.member.state === 'down')
    const [outcome] = await a.member.publish({ kind: 'invalidate', identifiers: ['carol'], reread: false })
    assert.deepEqual(outcome, { instance: 'b', acknowledged: false, count: 0 })
    await server.start()
    await soon('both to be up', () => a.member.state === 'up' && b.member.state === 'up')
    assert.ok(b.doubts.length > 0)
    await soon('each other', () => a.peer('b')?.lostAt === undefined && b.peer('a')?.lostAt === undefined)
    assert.deepEqual(await a.member.publish(kick), [{ instance: 'b', acknowledged: true, count: 3 }])
  })
})
