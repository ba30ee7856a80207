/**
 * `node test/reliability/deaths.ts [--minutes 5] [--every 5]`: a worker is killed every few seconds while sessions in all login
 * protocols come and go, and in the middle of a burst of connections; every other one is stopped right before, so that some are on
 * their way to it when it dies. What must hold, and ends it with status 1 otherwise:
 *
 * - A session that is cut was in the worker that was killed: the line of its login names it (verdict.ts).
 * - A connection that ended before its login was there when a worker died, and no living one says that it ended it.
 * - What was on its way when a worker died is answered by another, or closed, within a second.
 * - Nobody is sent away, finds nobody there, or is left unanswered.
 *
 * Each visit is an account and a client's address of its own, so that the log, at `debug`, tells what became of each.
 */
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { Crowd } from '../chaos/crowd.ts'
import type { Trip } from '../chaos/crowd.ts'
import { ChaosFleet } from '../chaos/fleet.ts'
import type { Member } from '../chaos/fleet.ts'
import { Random } from '../chaos/random.ts'
import { visit } from '../chaos/visit.ts'
import type { Visit } from '../chaos/visit.ts'
import { until } from '../support/fleet-rig.ts'
import { judgeVisit, waitedFor } from './verdict.ts'
import type { Death, Visited } from './verdict.ts'

const PATIENCE_MS = 20_000
/** By when the log has been read. */
const READ_MS = 2_000
const LANES = 8
/** Connections around a death, and milliseconds between two of them. */
const BURST = 20
const BURST_STEP_MS = 8
const MAIL = ['imap', 'pop3', 'managesieve', 'submission']

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' }, every: { type: 'string', default: '5' } } })
process.exitCode = await main(Number(values.minutes) * 60_000, Number(values.every) * 1_000)

async function main(ms: number, every: number): Promise<number> {
  // Nobody is mapped: the default server has them all.
  await using fleet = await ChaosFleet.start({ source: 'redis', accounts: ['nobody@example.com'], tables: { server: { log_level: 'debug' } } })
  // No link stands between a client and its instance: it would hide the address.
  const doors = { ca: fleet.ca, members: fleet.members.map((member) => ({ ...member, doors: member.straight.filter(({ protocol }) => MAIL.includes(protocol)) })) }
  const random = new Random(1)
  const deaths: Death[] = []
  const visited: Visited[] = []
  const tally: Record<string, number> = {}
  let visitors = 0
  const accounts = (): string => `visitor${++visitors}@example.com`
  const back = (trip: Trip, result: Visit): void => {
    tally[result.outcome] = (tally[result.outcome] ?? 0) + 1
    visited.push({ ...trip, member: trip.member.name, result, client: addressOf(trip.account) })
  }
  const crowd = new Crowd(doors, { accounts, lanes: LANES, rest: 40, size: 20_000, stayers: 40, random, patience: PATIENCE_MS, from: addressOf }, (trip) => ({ back: (result) => back(trip, result) }))
  /** Some come one right after the other, so that there are some on their way. */
  const burst = async (member: Member): Promise<void> => {
    const coming: Promise<void>[] = []
    for (let count = 0; count < BURST; count++) {
      const trip = { member, door: random.pick(member.doors), account: accounts() }
      const options = { ...trip, ca: fleet.ca, size: 2_000, rounds: 1, pause: 0, patience: PATIENCE_MS, seed: count, from: addressOf(trip.account) }
      coming.push(visit(options).then((result) => back(trip, result)))
      await systemClock.sleep(BURST_STEP_MS)
    }
    await Promise.all(coming)
  }
  const bursts: Promise<void>[] = []
  for (const end = systemClock.now() + ms; systemClock.now() < end; ) {
    await systemClock.sleep(every)
    const member = random.pick(doors.members)
    const { name, box } = member
    // Both are there: a single one of an instance that dies has nobody to take over.
    if (box.workers().size < 2) continue
    const [worker, pid] = random.pick([...box.workers()])
    // Every other one has stood still for a moment: what was sent to it then is on its way when it dies.
    if (deaths.length % 2 === 0) process.kill(pid, 'SIGSTOP')
    bursts.push(burst(member))
    await systemClock.sleep((BURST * BURST_STEP_MS) / 2)
    deaths.push({ member: name, worker, at: systemClock.now() })
    process.kill(pid, 'SIGKILL')
  }
  await Promise.all([crowd.stop(), ...bursts])
  for (const { name, box } of fleet.members) await until(`${name} has two workers`, () => box.workers().size === 2)
  await systemClock.sleep(READ_MS)
  const wrong: string[] = []
  const lost = { cut: 0, ended: 0 }
  let [longest, waits, waited] = [0, 0, 0]
  for (const one of visited) {
    const { result } = one
    const lines = fleet.members.find(({ name }) => name === one.member)?.box.lines ?? []
    const verdict = judgeVisit(one, deaths, lines)
    if (verdict !== undefined) wrong.push(`${one.member}, ${one.door.protocol} ${one.door.tls}, ${one.account}: ${verdict}`)
    else if (result.outcome === 'cut' || result.outcome === 'ended') lost[result.outcome]++
    longest = Math.max(longest, result.took ?? 0)
    const wait = waitedFor(one, deaths)
    if (wait === undefined) continue
    waits++
    waited = Math.max(waited, wait)
  }
  process.stdout.write(`${deaths.length} workers killed; visits: ${JSON.stringify(tally)}; slowest login ${Math.round(longest)} ms\n`)
  process.stdout.write(`${lost.cut} sessions were in a worker that was killed, ${lost.ended} connections were before their login when one was\n`)
  process.stdout.write(`${waits} connections had no answer yet when a worker of theirs died: answered or closed within ${Math.round(waited)} ms\n`)
  process.stdout.write(`anything else: ${wrong.length}\n${wrong.slice(0, 20).join('\n')}\n`)
  // Why somebody was told to come again: `unanswered` is a machine too busy to take a connection in time.
  const reasons: Record<string, number> = {}
  for (const { box } of fleet.members) {
    for (const { event, code, reason, times } of box.lines) {
      const why = event === 'login_unavailable' ? String(code) : event === 'connection_refused' ? String(reason) : undefined
      if (why !== undefined) reasons[why] = (reasons[why] ?? 0) + (typeof times === 'number' ? times : 1)
    }
  }
  process.stdout.write(`told to come again, by the log: ${JSON.stringify(reasons)}\n`)
  // Without anybody on the way nothing would have been shown.
  return wrong.length === 0 && waits > 0 ? 0 : 1
}

/** One of 127/8 for each visitor. */
function addressOf(account: string): string {
  const number = Number(/\d+/.exec(account)?.[0] ?? 0)
  return `127.${64 + ((number >> 16) & 63)}.${(number >> 8) & 255}.${number & 255}`
}
