import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse, stringify } from 'smol-toml'
import { systemClock } from '../../src/clock.ts'
import { makeAuthority } from '../support/certificates.ts'
import { freePorts } from '../support/ports.ts'
import { skipWithout } from '../support/programs.ts'
import { RedisServer } from '../support/redis.ts'
import { Signalbox } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'

const PATIENCE_MS = 30_000

/** Starts instances that share a Redis as source and bus, each with destinations of its own; nobody ever connects to those. */
async function startInstances(directory: string, redis: RedisServer, destinations: Readonly<Record<string, readonly string[]>>): Promise<Signalbox[]> {
  const authority = await makeAuthority()
  const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
  const token = randomBytes(24).toString('hex')
  const at = (name: string): string => join(directory, name)
  await writeFile(at('cert.pem'), certificate.cert)
  await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
  await writeFile(at('token'), `${token}\n`, { mode: 0o600 })
  const boxes: Signalbox[] = []
  for (const [instance, names] of Object.entries(destinations)) {
    const [imaps = 0, management = 0, nobody = 0] = await freePorts(3)
    const destination = { host: '127.0.0.1', tls_server_name: 'localhost', forwarding: 'none', protocol: { imap: { port: nobody, tls: 'implicit' } } }
    const config = {
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json' },
      cluster: { instance, bus: redis.url, heartbeat: '200ms', ack_timeout: '1s' },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: { imaps: { protocol: 'imap', bind: [`127.0.0.1:${imaps}`], tls: 'implicit' } },
      destination: Object.fromEntries(names.map((name) => [name, destination])),
      routing: { default_destination: names[0] },
      mapping: { source: 'redis', normalize: 'lowercase', redis: { url: redis.url } },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: at('token') },
    }
    boxes.push(await Signalbox.start({ directory, config: stringify(config), admin: { port: management, token, ca: authority.cert } }))
  }
  return boxes
}

/** Instance → state, as `box` sees it. */
async function statesOf(box: Signalbox): Promise<Readonly<Record<string, unknown>>> {
  const { json } = await box.admin.request('GET', '/fleet')
  assert.ok(typeof json === 'object' && json !== null && 'instances' in json && Array.isArray(json.instances))
  return Object.fromEntries(json.instances.map(({ instance, state }) => [instance, state]))
}

async function until(what: () => Promise<boolean>): Promise<void> {
  for (const deadline = systemClock.now() + PATIENCE_MS; !(await what()); await systemClock.sleep(50)) {
    assert.ok(systemClock.now() < deadline, `in time: ${what}`)
  }
}

describe('two instances on a bus, seen through the management API', () => {
  it('tell of each other, of what a peer lacks, of one that is lost, and forget it', { skip: skipWithout('redis-server') }, async () => {
    await using temporary = await makeTemporary('fleet')
    await using redis = await RedisServer.start()
    const [a, b] = await startInstances(temporary.path, redis, { a: ['old', 'new', 'third'], b: ['old', 'new'] })
    assert.ok(a !== undefined && b !== undefined)
    await using _a = a
    await using _b = b

    await until(async () => (await statesOf(a))['b'] === 'live' && (await statesOf(b))['a'] === 'live')
    assert.deepEqual(await statesOf(a), { a: 'self', b: 'live' })
    const fleet = await a.admin.request('GET', '/fleet')
    assert.partialDeepStrictEqual(fleet.json, { bus: 'up', instances: [{ instance: 'a', digest_agrees: true, lag: null }, { instance: 'b', digest_agrees: false }] })

    const put = await a.admin.put('x@example.org', 'new')
    assert.deepEqual([put.status, put.json], [200, {
      result: 'ok', identifier: 'x@example.org', destination: 'new',
      workers: 2, workers_expected: 2, peers: [{ instance: 'b', acknowledged: true }], unconfirmed: [], bus: 'up',
    }])
    assert.equal(put.headers['signalbox-unconfirmed'], undefined)
    assert.partialDeepStrictEqual((await b.admin.lookup('x@example.org')).json, { destination: 'new' })

    const lacking = await a.admin.put('x@example.org', 'third')
    assert.partialDeepStrictEqual(lacking, { status: 409, json: { code: 'BUS_PEER_LACKS' } })
    assert.match(lacking.body, /at b\b/)
    assert.partialDeepStrictEqual((await a.admin.lookup('x@example.org')).json, { destination: 'new' }, 'nothing was written')

    assert.partialDeepStrictEqual(await a.admin.request('DELETE', '/fleet/b'), { status: 409, json: { code: 'NOT_LOST' } })
    assert.partialDeepStrictEqual(await a.admin.request('DELETE', '/fleet/a'), { status: 409, json: { code: 'NOT_LOST' } })
    assert.equal((await a.admin.request('DELETE', '/fleet/c')).status, 404)

    await b.stop('SIGKILL')
    const alone = await a.admin.put('x@example.org', 'old')
    assert.partialDeepStrictEqual(alone, { status: 200, json: { peers: [{ instance: 'b', acknowledged: false }], unconfirmed: ['b'] } })
    assert.equal(alone.headers['signalbox-unconfirmed'], 'b')
    await until(async () => (await statesOf(a))['b'] === 'lost')
    const forgotten = await a.admin.request('DELETE', '/fleet/b')
    assert.deepEqual([forgotten.status, forgotten.json], [200, { result: 'forgotten', instance: 'b' }])
    assert.deepEqual(await statesOf(a), { a: 'self' })
    const afterwards = await a.admin.put('x@example.org', 'third')
    assert.deepEqual([afterwards.status, afterwards.headers['signalbox-unconfirmed']], [200, undefined])
    await a.line((line) => line['event'] === 'audit' && line['change'] === 'fleet_forget' && line['outcome'] === 'ok')
  })

  it('tell of a destination that a reload brings: once all know it, accounts can be moved there', { skip: skipWithout('redis-server') }, async () => {
    await using temporary = await makeTemporary('fleet')
    await using redis = await RedisServer.start()
    const boxes = await startInstances(temporary.path, redis, { a: ['one'], b: ['one'] })
    const [a, b] = boxes
    assert.ok(a !== undefined && b !== undefined)
    try {
      await until(async () => (await statesOf(a))['b'] === 'live' && (await statesOf(b))['a'] === 'live')
      const add = async (box: Signalbox): Promise<void> => {
        const config = parse(await readFile(box.path, 'utf8'))
        const { destination } = config
        assert.ok(typeof destination === 'object' && !Array.isArray(destination) && !(destination instanceof Date))
        await writeFile(box.path, stringify({ ...config, destination: { ...destination, two: destination['one'] } }))
        const answer = await box.admin.request('POST', '/config/reload')
        assert.equal(answer.status, 200, answer.body)
      }
      await add(a)
      // Its peer doesn't know it yet.
      assert.equal((await a.admin.put('ann@example.com', 'two')).status, 409)
      await add(b)
      await until(async () => (await a.admin.put('ann@example.com', 'two')).status === 200)
      const fleet = await a.admin.request('GET', '/fleet')
      assert.partialDeepStrictEqual(fleet.json, { instances: [{ instance: 'a' }, { instance: 'b', digest_agrees: true }] })
      const lookup = await b.admin.lookup('ann@example.com', { workers: 'all' })
      assert.doesNotMatch(lookup.body, /"routed_to_default":true/)
      assert.match(lookup.body, /"destination":"two"/)
      // And without it on one of them: what is cached there goes to the default, with a warning, as after a restart.
      const { destination, ...rest } = parse(await readFile(b.path, 'utf8'))
      assert.ok(typeof destination === 'object' && !Array.isArray(destination) && !(destination instanceof Date))
      await writeFile(b.path, stringify({ ...rest, destination: { one: destination['one'] } }))
      assert.equal((await b.admin.request('POST', '/config/reload')).status, 200)
      const without = await b.admin.lookup('ann@example.com', { workers: 'all' })
      assert.doesNotMatch(without.body, /"destination":"two"|"routed_to_default":false/)
      await b.line((line) => line['event'] === 'mapping_undeclared' && line['value'] === 'two')
    } finally {
      await Promise.all(boxes.map((box) => box.stop()))
    }
  })
})
