/**
 * The cutover of an account over real processes: clients that come back at once while their account moves back and forth,
 * two operators at one account, the leading instance killed at every step, the same over a file that two share, and lists of any
 * length on a mapping file.
 *
 * SIGNALBOX_CUTOVER_SESSIONS and SIGNALBOX_CUTOVER_ROUNDS make the first one longer, SIGNALBOX_CUTOVER_ACCOUNTS the list.
 */
import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { FleetRig, PREFIX, until } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { skipWithout } from '../support/programs.ts'
import { Rig } from '../support/rig.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const SESSIONS = Number(process.env['SIGNALBOX_CUTOVER_SESSIONS'] ?? 50)
const ROUNDS = Number(process.env['SIGNALBOX_CUTOVER_ROUNDS'] ?? 20)
const ACCOUNTS = Number(process.env['SIGNALBOX_CUTOVER_ACCOUNTS'] ?? 2_000)
const ACCOUNT = 'carol@example.com'
/** Kills, each one relevant command of the leader's later. */
const KILLS = 9

/** Somebody who is logged in all the time: comes back at once whenever the connection ends. */
class Regular {
  /** Where the last login was let in; undefined: on the way. */
  at: string | undefined
  /** Milliseconds from each end of a connection to the next login that was let in. */
  readonly interruptions: number[] = []
  readonly refusals: string[] = []
  readonly #port: number
  readonly #account: string
  #client: WireClient | undefined
  #stopped = false
  readonly #over: Promise<void>

  constructor(port: number, account: string) {
    this.#port = port
    this.#account = account
    this.#over = this.#live()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#client?.destroy()
    await this.#over
  }

  async #live(): Promise<void> {
    let lost: number | undefined
    while (!this.#stopped) {
      try {
        const client = await WireClient.connect({ port: this.#port })
        this.#client = client
        await client.until(/^\* OK .*\r\n/)
        const answer = await client.command(`a LOGIN ${this.#account} secret`)
        const at = /^a OK .*welcome to (\w+)/m.exec(answer)?.[1]
        if (at === undefined) this.refusals.push(answer)
        else {
          if (lost !== undefined) this.interruptions.push(systemClock.now() - lost)
          this.at = at
          await client.untilClosed(600_000)
        }
      } catch {
        // The connection ended in the middle of the login: kicked there.
      }
      this.#client?.destroy()
      if (this.at !== undefined) lost = systemClock.now()
      this.at = undefined
    }
  }
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN) * 10) / 10
}

const openAt = (stub: StubImap): number => stub.connections.filter(({ closed }) => !closed).length

describe('the cutover of an account', { skip: skipWithout('redis-server') }, () => {
  let stubs: Record<'old' | 'new', StubImap>
  let rig: FleetRig
  let a: FleetMember
  let b: FleetMember

  before(async () => {
    stubs = { old: await StubImap.start({ name: 'old', tls: 'plain' }), new: await StubImap.start({ name: 'new', tls: 'plain' }) }
    rig = await FleetRig.start(['a', 'b'], { destinations: { old: stubs.old.port, new: stubs.new.port }, cluster: { ack_timeout: '10s' } })
    ;[a, b] = rig.pair
  })
  after(async () => {
    await (rig as FleetRig | undefined)?.stop()
    await Promise.all(Object.values(stubs).map((stub) => stub.stop()))
  })

  const move = (member: FleetMember, identifier: string, destination: string, more: Record<string, string> = {}) =>
    member.admin.request('POST', '/accounts/cutover', { identifier, destination, ...more })

  test(`${SESSIONS} sessions on two instances, ${ROUNDS} times back and forth: after each answer nothing is on the old server`, { timeout: 1_800_000 }, async (t) => {
    await rig.set(ACCOUNT, 'old')
    const clients = Array.from({ length: SESSIONS }, (_, i) => new Regular(i % 2 === 0 ? a.imap : b.imap, ACCOUNT))
    const all = (name: string) => until(`everybody is at ${name}`, () => clients.every(({ at }) => at === name), 60_000)
    const acts: number[] = []
    const asked: number[] = []
    try {
      await all('old')
      for (let round = 0; round < ROUNDS * 2; round++) {
        const [from, to] = round % 2 === 0 ? (['old', 'new'] as const) : (['new', 'old'] as const)
        const began = systemClock.now()
        const { status, json, body } = await move(round % 4 < 2 ? a : b, ACCOUNT, to)
        asked.push(systemClock.now() - began)
        // What this process was sent before the answer may still lie in its sockets.
        for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve))
        assert.equal(status, 200, body)
        const answer = json as { result: string; ms: number; sessions_ended: number; peers: unknown }
        acts.push(answer.ms)
        assert.equal(answer.result, 'moved')
        assert.deepEqual(answer.peers, [{ instance: round % 4 < 2 ? 'b' : 'a', acknowledged: true }])
        const came = stubs[from].connections.length
        await until(`nothing is open at ${from}`, () => openAt(stubs[from]) === 0)
        await all(to)
        assert.equal(stubs[from].connections.length, came, `nobody came to ${from} after round ${round}`)
        assert.equal(openAt(stubs[from]), 0)
      }
      assert.deepEqual(clients.flatMap(({ refusals }) => refusals), [])
    } finally {
      await Promise.all(clients.map((client) => client.stop()))
    }
    const interruptions = clients.flatMap((client) => client.interruptions)
    t.diagnostic(`act: median ${quantile(acts, 0.5)} ms, p99 ${quantile(acts, 0.99)} ms, as asked: ${quantile(asked, 0.5)}, ${quantile(asked, 0.99)} (${acts.length})`)
    t.diagnostic(`interruption: median ${quantile(interruptions, 0.5)} ms, p99 ${quantile(interruptions, 0.99)} ms (${interruptions.length})`)
  })

  test('a second operator is told who is at it, wherever he asks, and a login that comes meanwhile waits', async () => {
    const user = 'contested@example.com'
    const began = systemClock.wall()
    // A worker that stands still keeps the first act in its first step.
    const [pid] = b.box.workers().values()
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGSTOP')
    let first: ReturnType<typeof move>
    try {
      first = move(a, user, 'new')
      await until('the account is leased', async () => (await rig.hand.exists(`signalbox:lease:${PREFIX}${user}`)) === 1)
      for (const member of [a, b]) {
        const { status, json } = await move(member, user, 'old')
        assert.equal(status, 409)
        const { code, by, since } = json as Record<string, string>
        assert.deepEqual([code, by], ['CUTOVER_UNDER_WAY', 'a for 127.0.0.1'])
        assert.ok(Math.abs(Date.parse(since ?? '') - began) < 60_000)
      }
      assert.equal(await rig.hand.exists(PREFIX + user), 0)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    assert.equal((await first).status, 200)
    const again = await move(b, user, 'new')
    assert.equal((again.json as { result: string }).result, 'unchanged')
    assert.equal(await rig.hand.exists(`signalbox:lease:${PREFIX}${user}`), 0)
  })

  test('an instance that does not obey fails the act, nothing is moved, and logins go on', async () => {
    const user = 'silent@example.com'
    await using short = await FleetRig.start(['c', 'd'], { destinations: { old: stubs.old.port, new: stubs.new.port }, cluster: { ack_timeout: '300ms' } })
    const [c, d] = short.pair
    await short.set(user, 'old')
    const [pid] = d.box.workers().values()
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGSTOP')
    try {
      const { status, json, body } = await move(c, user, 'new')
      assert.equal(status, 502, body)
      const { step, cause, put_back, unconfirmed } = json as Record<string, unknown>
      assert.deepEqual([step, cause, put_back, unconfirmed], ['hold', 'ACTOR_DEADLINE', 'not needed', ['d']])
      assert.equal(await short.hand.get(PREFIX + user), 'old')
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    const client = await c.greeted()
    assert.match(await client.command(`a LOGIN ${user} secret`), /^a OK .*welcome to old/m)
    client.destroy()
    assert.equal((await move(c, user, 'new')).status, 200)
  })

  test('the leading instance is killed at every step: holds end, the mapping is old or new for all, and the next act succeeds', { timeout: 300_000 }, async () => {
    const hand = rig.redis?.client()
    assert.ok(hand !== undefined)
    const monitor = await hand.monitor()
    const users = Array.from({ length: KILLS }, (_, i) => `killed${i}@example.com`)
    const seen: string[] = []
    for (const [after, user] of users.entries()) {
      await rig.set(user, 'old')
      await until('the session is there', async () => (await b.destinations(user)).every((name) => name === 'old'))
      let commands = -1
      const killed = new Promise<void>((resolve) => {
        monitor.on('monitor', (_time: string, args: string[]) => {
          const [name = '', key = ''] = args
          if (commands < 0 && !(name.toLowerCase() === 'set' && key === `signalbox:lease:${PREFIX}${user}`)) return
          if (!['set', 'publish', 'eval', 'get'].includes(name.toLowerCase())) return
          if (++commands === after) {
            seen.push(`${name} ${key}`)
            a.box.signal('SIGKILL')
            resolve()
          }
        })
      })
      const answered = move(a, user, 'new', { hold: '2' }).then(
        ({ status }) => status,
        () => 'none',
      )
      await killed
      await answered
      monitor.removeAllListeners('monitor')
      await a.box.exited
      await a.restart('SIGKILL')
      await rig.together()
    }
    const outcomes: (string | null)[] = []
    for (const user of users) {
      // Held or not: the login is let in, and where the mapping says.
      const stored = await rig.hand.get(PREFIX + user)
      outcomes.push(stored)
      for (const member of [a, b]) {
        assert.deepEqual(new Set(await member.destinations(user)), new Set([stored]), `${user} at ${member.name}`)
        const client = await member.greeted()
        assert.match(await client.command(`a LOGIN ${user} secret`), new RegExp(`^a OK .*welcome to ${stored}`, 'm'))
        client.destroy()
      }
    }
    for (const user of users) {
      let answer = await move(b, user, 'new')
      for (let tries = 0; answer.status === 409 && tries < 600; tries++) {
        await systemClock.sleep(100)
        answer = await move(b, user, 'new')
      }
      assert.equal(answer.status, 200, answer.body)
      for (const member of [a, b]) assert.deepEqual(new Set(await member.destinations(user)), new Set(['new']))
    }
    assert.ok(outcomes.includes('old') && outcomes.includes('new'), `${JSON.stringify(outcomes)} after ${JSON.stringify(seen)}`)
    monitor.disconnect()
    hand.disconnect()
  })
})

describe('the cutover of accounts over a file that two instances share', { skip: skipWithout('redis-server') }, () => {
  const users = ['file0@example.com', 'file1@example.com', 'file2@example.com']
  let stubs: Record<'old' | 'new', StubImap>
  let rig: FleetRig
  let a: FleetMember
  let b: FleetMember

  before(async () => {
    stubs = { old: await StubImap.start({ name: 'old', tls: 'plain' }), new: await StubImap.start({ name: 'new', tls: 'plain' }) }
    const destinations = { old: stubs.old.port, new: stubs.new.port }
    const file = [...users, 'contested@example.com', 'killed@example.com'].map((user) => `${user}\told\n`).join('')
    rig = await FleetRig.start(['a', 'b'], { destinations, file, mapping: { settle: '0s' }, cluster: { ack_timeout: '10s' } })
    ;[a, b] = rig.pair
  })
  after(async () => {
    await (rig as FleetRig | undefined)?.stop()
    await Promise.all(Object.values(stubs).map((stub) => stub.stop()))
  })

  const move = (member: FleetMember, identifier: string, destination: string, more: Record<string, string> = {}) =>
    member.admin.request('POST', '/accounts/cutover', { identifier, destination, ...more })
  const mapped = async (user: string) => new RegExp(`^${user}\t(\\w+)$`, 'm').exec(await readFile(join(rig.directory, 'mappings'), 'utf8'))?.[1]
  const leases = async () => (await readdir(rig.directory)).filter((name) => name.startsWith('.mappings.signalbox'))

  test('sessions on both, accounts back and forth through both at once: after each answer nothing is on the old server', async () => {
    const clients = users.flatMap((user) => [new Regular(a.imap, user), new Regular(b.imap, user), new Regular(b.imap, user)])
    const all = (name: string) => until(`everybody is at ${name}`, () => clients.every(({ at }) => at === name), 60_000)
    try {
      await all('old')
      for (let round = 0; round < 6; round++) {
        const [from, to] = round % 2 === 0 ? (['old', 'new'] as const) : (['new', 'old'] as const)
        // Different accounts at the same time, so that both instances write the file.
        const answers = await Promise.all(users.map((user, i) => move((i + round) % 2 === 0 ? a : b, user, to)))
        for (const { status, json, body } of answers) {
          assert.equal(status, 200, body)
          assert.equal((json as { result: string }).result, 'moved')
        }
        const came = stubs[from].connections.length
        await until(`nothing is open at ${from}`, () => openAt(stubs[from]) === 0)
        await all(to)
        assert.equal(stubs[from].connections.length, came, `nobody came to ${from} after round ${round}`)
        for (const user of users) assert.equal(await mapped(user), to)
      }
      assert.deepEqual(clients.flatMap(({ refusals }) => refusals), [])
    } finally {
      await Promise.all(clients.map((client) => client.stop()))
    }
    assert.deepEqual(await leases(), [])
  })

  test('two operators at one account, at two instances: one moves it, the other is told who is at it', async () => {
    const user = 'contested@example.com'
    // A worker that stands still keeps the first act in its first step.
    const [pid] = b.box.workers().values()
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGSTOP')
    let first: ReturnType<typeof move>
    try {
      first = move(a, user, 'new')
      await until('the account is leased', async () => (await leases()).some((name) => name.includes('lease')))
      const { status, json } = await move(b, user, 'new')
      assert.equal(status, 409)
      const { code, by } = json as Record<string, string>
      assert.deepEqual([code, by], ['CUTOVER_UNDER_WAY', 'a for 127.0.0.1'])
      assert.equal(await mapped(user), 'old')
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    assert.equal((await first).status, 200)
    assert.equal(await mapped(user), 'new')
  })

  test('the leading instance is killed: the file is whole, the mapping the same for all, and the other one completes it', async () => {
    const user = 'killed@example.com'
    const to = 'new'
    const answered = move(a, user, to, { hold: '2' }).then(({ status }) => status, () => 'none')
    const taken = until('the lease', async () => (await leases()).some((name) => name.includes('signalbox-lease')))
    await Promise.race([taken, answered])
    await a.restart('SIGKILL')
    await answered
    await rig.together()
    const stored = await mapped(user)
    assert.ok(stored === 'old' || stored === 'new')
    for (const member of [a, b]) assert.deepEqual(new Set(await member.destinations(user)), new Set([stored]), member.name)
    let answer = await move(b, user, to)
    for (let tries = 0; answer.status === 409 && tries < 600; tries++) {
      await systemClock.sleep(100)
      answer = await move(b, user, to)
    }
    assert.equal(answer.status, 200, answer.body)
    for (const member of [a, b]) assert.deepEqual(new Set(await member.destinations(user)), new Set([to]))
    assert.equal(await mapped(user), to)
    assert.deepEqual((await leases()).filter((name) => name.endsWith('-lock')), [])
  })
})

/** Sends a list and counts its lines; breaks off after `most` of them. */
async function cutOver(rig: Rig, accounts: number, most = Number.POSITIVE_INFINITY): Promise<{ lines: number; last: Record<string, unknown>; seconds: number }> {
  const began = systemClock.now()
  const sent = request({
    host: '127.0.0.1',
    port: rig.management,
    servername: 'localhost',
    ca: rig.authority.cert,
    method: 'POST',
    path: '/accounts/cutover?destination=new',
    headers: { authorization: `Bearer ${rig.token}` },
    agent: false,
  })
  const answered = new Promise<IncomingMessage>((resolve, reject) => sent.once('response', resolve).once('error', reject))
  sent.on('error', () => undefined)
  for (let i = 0; i < accounts; i++) {
    if (!sent.write(`user${i}@example.com\n`)) await Promise.race([new Promise((resolve) => sent.once('drain', resolve)), answered])
    if (sent.destroyed) break
    if (i === 200) await Promise.race([answered, systemClock.sleep(0)])
  }
  sent.end()
  const answer = await answered
  let lines = 0
  let last: Record<string, unknown> = {}
  // Where we break it off ourselves, that is no failure.
  answer.on('error', () => undefined)
  const reading = createInterface({ input: answer })
  const ended = new Promise<void>((resolve) => reading.once('close', resolve))
  reading.on('line', (line) => {
    if (lines >= most) return
    last = JSON.parse(line)
    if (++lines < most) return
    sent.destroy()
    reading.close()
  })
  await ended
  return { lines, last, seconds: (systemClock.now() - began) / 1000 }
}

async function residentMiB(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
}

test(`a list of ${ACCOUNTS} accounts on a mapping file, broken off and taken up again, in constant memory`, { timeout: 1_800_000 }, async (t) => {
  const stub = await StubImap.start({ name: 'old', tls: 'plain' })
  const destinations = { old: { port: stub.port, tls: 'plain' }, new: { port: stub.port, tls: 'plain' } } as const
  const mappings = Object.fromEntries(Array.from({ length: ACCOUNTS }, (_, i) => [`user${i}@example.com`, 'old']))
  try {
    await using rig = await Rig.start({ destinations, mappings })
    const count = async (): Promise<number> => (await readFile(rig.mappingPath, 'utf8')).split('\n').filter((line) => line.endsWith('\tnew')).length
    const before = await residentMiB(rig.box.pid)
    let peak = before
    const watching = systemClock.every(100, () => void residentMiB(rig.box.pid).then((now) => (peak = Math.max(peak, now))))
    const third = Math.floor(ACCOUNTS / 3)
    const broken = await cutOver(rig, ACCOUNTS, third)
    const audited = (): number => rig.box.lines.filter(({ change }) => change === 'account_cutover').length
    // Those under way come to their end, and no other begins.
    let still = -1
    await until('it has stopped', async () => {
      const now = audited()
      const same = now === still
      still = now
      await systemClock.sleep(300)
      return same
    })
    const moved = await count()
    assert.ok(moved >= third && moved < ACCOUNTS, `${moved} of ${ACCOUNTS}`)
    assert.equal(moved, still)
    const { lines, last, seconds } = await cutOver(rig, ACCOUNTS)
    watching.cancel()
    assert.equal(lines, ACCOUNTS + 1)
    assert.deepEqual([last['done'], last['accounts'], last['unchanged'], last['moved'], last['failed']], [true, ACCOUNTS, moved, ACCOUNTS - moved, 0])
    assert.equal(await count(), ACCOUNTS)
    t.diagnostic(`broken off after ${third} lines: ${broken.seconds.toFixed(1)} s, ${moved} moved; taken up: ${seconds.toFixed(1)} s for ${ACCOUNTS - moved} moved and ${moved} unchanged`)
    // What lives stays below 40 MiB; the rest is the young generation at its full size, garbage that nobody is in need of yet, and the
    // thread that rewrites the file. None of it depends on the length of the list.
    assert.ok(peak - before < 400, `${before.toFixed(0)} MiB before, ${peak.toFixed(0)} MiB at most`)
    t.diagnostic(`memory of the primary: ${before.toFixed(0)} MiB before, ${peak.toFixed(0)} MiB at most`)
  } finally {
    await stub.stop()
  }
})
