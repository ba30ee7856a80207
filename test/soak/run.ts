/**
 * `npm run test:soak -- --minutes N [--seed S] [--warm MINUTES] [--quiet SECONDS] [--rest MS]`: a mixed load in all protocols over two instances for so long, with
 * mappings that move, sessions that are ended, configurations that are loaded again, and clients that misbehave. Each
 * process is looked into before and after, with nobody connected and the garbage collected: heap, memory of buffers,
 * descriptors, timers, handles and listeners must be back where they were, within 5 % (`inside.ts`). Status 1 when they are not.
 */
import { readdirSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { Crowd } from '../chaos/crowd.ts'
import { ChaosFleet } from '../chaos/fleet.ts'
import type { Member } from '../chaos/fleet.ts'
import { Random } from '../chaos/random.ts'
import { until } from '../support/fleet-rig.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Inside } from './inside.ts'

const ACCOUNTS = Array.from({ length: 200 }, (_, index) => `soak${index}@example.com`)
/** What may be more at the end, of what was there at the start. */
const TOLERANCE = 0.05
/** The same in pieces, where a percentage of a few would be less than one. */
const PIECES = 2
/** A heap of 20 MB breathes by that much from one collection to the next. */
const HEAP_BREATH = 1_000_000
/** Longer than what remembers an invalidation (150 s), penalties excepted: those have a table of fixed size. */
const QUIET_MS = 160_000
const LANES = 10
const PATIENCE_MS = 20_000

interface Look extends Inside {
  readonly process: string
  readonly descriptors: number
}

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '5' }, seed: { type: 'string', default: '1' }, warm: { type: 'string', default: '2' }, quiet: { type: 'string' }, rest: { type: 'string', default: '150' } },
})
const quietMs = values.quiet === undefined ? QUIET_MS : Number(values.quiet) * 1_000
process.exitCode = await main(Number(values.minutes), Number(values.warm), Number(values.seed))

async function main(minutes: number, warm: number, seed: number): Promise<number> {
  await using temporary = await makeTemporary('soak')
  const inside = join(temporary.path, 'inside')
  await mkdir(inside)
  const env = { NODE_OPTIONS: `--import=${new URL('inside.ts', import.meta.url).href}`, SIGNALBOX_SOAK_DIRECTORY: inside }
  await using fleet = await ChaosFleet.start({ source: 'redis', accounts: ACCOUNTS, env })
  const random = new Random(seed)
  say(`seed ${seed}: ${warm} minutes to warm up, ${minutes} of load`)
  await load(fleet, random, warm * 60_000)
  await quiet(fleet)
  const before = await lookAt(fleet, inside)
  show('at the start', before)
  const tally = await load(fleet, random, minutes * 60_000, async (left) => {
    const now = await lookAt(fleet, inside)
    say(`${Math.round(left / 60_000)} minutes to go: ${now.map(({ process: name, heap, buffers, resident, descriptors }) => `${name} heap ${mb(heap)} buffers ${mb(buffers)} resident ${mb(resident)} descriptors ${descriptors}`).join('; ')}`)
  })
  await quiet(fleet)
  const after = await lookAt(fleet, inside)
  show('at the end', after)
  say(`done: ${Object.entries(tally).map(([what, count]) => `${count} ${what}`).join(', ')}`)
  const wrong = [...compare(before, after), ...warnings(fleet)]
  if (tally['wrong'] !== 0) wrong.push(`${tally['wrong']} visits went wrong`)
  say(wrong.length === 0 ? 'back at the start: heap, buffers, descriptors, timers, handles, listeners' : `not back at the start:\n  ${wrong.join('\n  ')}`)
  return wrong.length === 0 ? 0 : 1
}

/** Visitors, changes, and those who misbehave, for so long. */
async function load(fleet: ChaosFleet, random: Random, ms: number, eachMinute?: (left: number) => Promise<void>): Promise<Record<string, number>> {
  const tally: Record<string, number> = { served: 0, cut: 0, busy: 0, ended: 0, absent: 0, wrong: 0, 'bytes compared': 0, changes: 0, strays: 0, reloads: 0 }
  const add = (what: string, count = 1): void => void (tally[what] = (tally[what] ?? 0) + count)
  const options = { accounts: ACCOUNTS, lanes: LANES, rest: Number(values.rest), size: 60_000, stayers: 10, random, patience: PATIENCE_MS }
  const crowd = new Crowd(fleet, options, () => ({
    back(result) {
      add(result.outcome)
      add('bytes compared', result.bytes)
      if (result.wrong === undefined) return
      add('wrong')
      say(result.wrong)
    },
  }))
  const until = systemClock.now() + ms
  let minute = systemClock.now() + 60_000
  for (let turn = 1; systemClock.now() < until; turn++) {
    await systemClock.sleep(200)
    const member = random.pick(fleet.members)
    const account = random.pick(ACCOUNTS)
    const put = await member.box.admin.put(account, random.pick(fleet.destinations))
    if (put.status !== 200) say(`PUT at ${member.name}: ${put.status} ${put.body}`)
    add('changes')
    if (turn % 10 === 0) await member.box.admin.kick(account)
    if (turn % 25 === 0) await member.box.admin.request('GET', '/metrics')
    if (turn % 5 === 0) add('strays', stray(random.pick(member.doors).port, random))
    if (turn % 300 === 0) {
      // The same with another banner: everything that a reload replaces is replaced.
      await member.rewrite({ limits: { auth_failure_delay: `${10 + (turn % 7)}ms` } })
      await member.box.admin.request('POST', '/config/reload')
      add('reloads')
    }
    if (systemClock.now() < minute) continue
    minute += 60_000
    await eachMinute?.(until - systemClock.now())
  }
  await crowd.stop()
  return tally
}

/** Somebody who comes and does something foolish. */
function stray(port: number, random: Random): number {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  const what = random.between(0, 3)
  socket.once('connect', () => {
    // Bytes of no protocol, half a handshake, a login without its end, nothing at all: and then they are gone.
    if (what === 0) socket.write(Buffer.alloc(300, 0xff))
    if (what === 1) socket.write(Buffer.from('160301020001000100', 'hex'))
    if (what === 2) socket.write('a LOGIN {5}\r\nABC')
    systemClock.after(random.between(10, 2_000), () => (what % 2 === 0 ? socket.resetAndDestroy() : socket.destroy()))
  })
  return 1
}

/** Nobody is connected, and what is remembered for a while is forgotten. */
async function quiet(fleet: ChaosFleet): Promise<void> {
  for (const { box, name } of fleet.members) {
    await until(`${name} has no connections`, async () => {
      const { body } = await box.admin.request('GET', '/metrics')
      return /^signalbox_connections 0$/m.test(body)
    })
  }
  await systemClock.sleep(quietMs)
}

async function lookAt(fleet: ChaosFleet, directory: string): Promise<Look[]> {
  const looks: Look[] = []
  for (const member of fleet.members) {
    for (const [name, pid] of processesOf(member)) {
      const inside = await ask(join(directory, String(pid)))
      // Those of the look itself come and go with it.
      looks.push({ process: name, descriptors: readdirSync(`/proc/${pid}/fd`).length, ...inside })
    }
  }
  return looks
}

function processesOf({ name, box }: Member): [string, number][] {
  return [[`${name} primary`, box.pid], ...[...box.workers()].map(([worker, pid]): [string, number] => [`${name} worker ${worker}`, pid])]
}

function ask(path: string): Promise<Inside> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect({ path })
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.once('error', reject)
    socket.once('end', () => resolve(JSON.parse(text) as Inside))
  })
}

/** What is more than it was. */
function compare(before: readonly Look[], after: readonly Look[]): string[] {
  const wrong: string[] = []
  for (const now of after) {
    const then = before.find((look) => look.process === now.process)
    if (then === undefined) {
      wrong.push(`${now.process} is not the process that it was`)
      continue
    }
    const judge = (what: string, from: number, to: number, least: number): void => {
      if (to > from + Math.max(from * TOLERANCE, least)) wrong.push(`${now.process}: ${what} ${from} → ${to}`)
    }
    judge('heap', then.heap, now.heap, HEAP_BREATH)
    judge('buffers', then.buffers, now.buffers, HEAP_BREATH)
    judge('descriptors', then.descriptors, now.descriptors, PIECES)
    judge('timers', then.timers, now.timers, PIECES)
    judge('listeners', then.listeners, now.listeners, 0)
    for (const [kind, count] of Object.entries(now.resources)) judge(kind, then.resources[kind] ?? 0, count, PIECES)
  }
  return wrong
}

/** What the runtime warned of: too many listeners, for one. */
function warnings(fleet: ChaosFleet): string[] {
  return fleet.members.flatMap(({ name, box }) => box.lines.filter(({ event }) => event === 'process_warning' || event === 'worker_exited').map(({ text }) => `${name}: ${text}`))
}

function show(when: string, looks: readonly Look[]): void {
  for (const { process: name, heap, buffers, resident, descriptors, timers, listeners, resources } of looks) {
    const kinds = Object.entries(resources).map(([kind, count]) => `${count} ${kind}`)
    say(`${when}, ${name}: heap ${mb(heap)}, buffers ${mb(buffers)}, resident ${mb(resident)}, ${descriptors} descriptors, ${timers} timers, ${listeners} listeners, ${kinds.join(', ')}`)
  }
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
