/**
 * `node test/reliability/deaths.ts [--minutes 5] [--every 5]`: a worker is killed every few seconds while sessions in all login
 * protocols come and go. What must hold, and ends it with status 1 otherwise: a session that is cut was in the worker that
 * was killed, a connection that ended before its login met a death on its way, nobody is refused, and nobody is left unanswered.
 */
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { Crowd } from '../chaos/crowd.ts'
import type { Trip } from '../chaos/crowd.ts'
import { ChaosFleet } from '../chaos/fleet.ts'
import { Random } from '../chaos/random.ts'
import type { Visit } from '../chaos/visit.ts'
import { until } from '../support/fleet-rig.ts'

/** By when a death is in the log and a connection that was on its way to the dead is closed or handed on; a second, and a busy machine. */
const LATE_MS = 5_000
const PATIENCE_MS = 20_000
const LANES = 8
const MAIL = ['imap', 'pop3', 'managesieve', 'submission']

interface Death {
  readonly member: string
  readonly worker: number
  readonly at: number
}

interface Lost {
  readonly trip: Trip
  readonly result: Visit
  readonly from: number
  readonly to: number
}

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' }, every: { type: 'string', default: '5' } } })
process.exitCode = await main(Number(values.minutes) * 60_000, Number(values.every) * 1_000)

async function main(ms: number, every: number): Promise<number> {
  // Each visit is an account of its own, so that the log names its worker. Nobody is mapped: the default server has them all.
  await using fleet = await ChaosFleet.start({ source: 'redis', accounts: ['nobody@example.com'] })
  const doors = { ca: fleet.ca, members: fleet.members.map((member) => ({ ...member, doors: member.doors.filter(({ protocol }) => MAIL.includes(protocol)) })) }
  const random = new Random(1)
  const deaths: Death[] = []
  const lost: Lost[] = []
  const wrong: string[] = []
  const tally: Record<string, number> = {}
  let visitors = 0
  let longest = 0
  const accounts = (): string => `visitor${++visitors}@example.com`
  const crowd = new Crowd(doors, { accounts, lanes: LANES, rest: 40, size: 20_000, stayers: 40, random, patience: PATIENCE_MS }, (trip) => {
    const from = systemClock.now()
    return {
      back(result) {
        tally[result.outcome] = (tally[result.outcome] ?? 0) + 1
        longest = Math.max(longest, result.took ?? 0)
        if (result.wrong !== undefined) wrong.push(result.wrong)
        else if (result.outcome !== 'served') lost.push({ trip, result, from, to: systemClock.now() })
      },
    }
  })
  for (const end = systemClock.now() + ms; systemClock.now() < end; ) {
    await systemClock.sleep(every)
    const { name, box } = random.pick(fleet.members)
    // Both are there: a single one of an instance that dies has nobody to take over.
    if (box.workers().size < 2) continue
    const [worker, pid] = random.pick([...box.workers()])
    process.kill(pid, 'SIGKILL')
    deaths.push({ member: name, worker, at: systemClock.now() })
  }
  await crowd.stop()
  for (const { name, box } of fleet.members) await until(`${name} has two workers`, () => box.workers().size === 2)
  let cut = 0
  let ended = 0
  for (const one of lost) {
    if (explained(fleet, deaths, one)) {
      if (one.result.outcome === 'cut') cut++
      else ended++
    } else wrong.push(`${one.trip.member.name}, ${one.trip.door.protocol} ${one.trip.door.tls}, ${one.trip.account}: ${one.result.outcome}, and no worker of its own had died`)
  }
  process.stdout.write(`${deaths.length} workers killed; visits: ${JSON.stringify(tally)}; slowest login ${Math.round(longest)} ms\n`)
  process.stdout.write(`${cut} sessions were in a worker that was killed, ${ended} connections were on their way to one; anything else: ${wrong.length}\n${wrong.slice(0, 20).join('\n')}\n`)
  // Why somebody was told to come again: `unanswered` is a machine too busy to take a connection in time.
  const reasons: Record<string, number> = {}
  for (const { box } of fleet.members) {
    for (const { event, code, reason, times } of box.lines) {
      const why = event === 'login_unavailable' ? String(code) : event === 'connection_refused' ? String(reason) : undefined
      if (why !== undefined) reasons[why] = (reasons[why] ?? 0) + (typeof times === 'number' ? times : 1)
    }
  }
  process.stdout.write(`told to come again, by the log: ${JSON.stringify(reasons)}\n`)
  return wrong.length === 0 ? 0 : 1
}

/** Whether it met the death of its own worker. */
function explained(fleet: ChaosFleet, deaths: readonly Death[], { trip, result, from, to }: Lost): boolean {
  if (result.outcome !== 'cut' && result.outcome !== 'ended') return false
  const met = deaths.filter(({ member, at }) => member === trip.member.name && at >= from - LATE_MS && at <= to)
  if (result.outcome === 'ended') return met.length > 0
  const lines = fleet.members.find(({ name }) => name === trip.member.name)?.box.lines ?? []
  const login = lines.find(({ event, account }) => event === 'login' && account === trip.account)
  // Killed between its yes to the client and its line in the log.
  return met.some(({ worker }) => login === undefined || login['worker'] === worker)
}
