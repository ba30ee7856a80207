/**
 * `node test/reliability/outages.ts [--seconds 10] [--rounds 3]`: Redis stopped (it hangs), killed and started again, restarted at once and
 * emptied, for so long each, under logins whose routes are in every cache. Says how many logins succeeded in each part, and that none was at
 * another place than the model allows; accounts are moved between the parts, and must be there at once. Status 1 below 99.9 %, or
 * for a single wrong place.
 */
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { Crowd } from '../chaos/crowd.ts'
import { ChaosFleet, MEMBERS } from '../chaos/fleet.ts'
import { Judge } from '../chaos/judge.ts'
import { Random } from '../chaos/random.ts'
import { until } from '../support/fleet-rig.ts'

const ACCOUNTS = Array.from({ length: 100 }, (_, index) => `outage${index}@example.com`)
const MAIL = ['imap', 'pop3', 'managesieve', 'submission']
const PATIENCE_MS = 20_000
const LEAST = 0.999
/** A store that is back is asked again within RECONNECT_MAX_MS. */
const AFTERMATH_MS = 10_000

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '10' }, rounds: { type: 'string', default: '3' } } })
process.exitCode = await main(Number(values.seconds) * 1_000, Number(values.rounds))

async function main(ms: number, rounds: number): Promise<number> {
  // The longest outage must be shorter than the life of a route, or nothing is warm.
  await using fleet = await ChaosFleet.start({ source: 'redis', accounts: ACCOUNTS })
  const judge = new Judge(ACCOUNTS, MEMBERS)
  for (const [index, value] of (await fleet.stored(ACCOUNTS)).entries()) judge.known(ACCOUNTS[index] ?? '', value)
  const doors = { ca: fleet.ca, members: fleet.members.map((member) => ({ ...member, doors: member.doors.filter(({ protocol }) => MAIL.includes(protocol)) })) }
  let counted: Record<string, number> | undefined
  const failures: string[] = []
  const totals = { tried: 0, served: 0 }
  const random = new Random(7)
  const part = async (name: string, begin: () => Promise<void> | void, end: () => Promise<void> | void): Promise<void> => {
    await warm(fleet)
    const counts: Record<string, number> = { served: 0 }
    counted = counts
    const cause = judge.begin({ busy: AFTERMATH_MS }, () => true)
    await begin()
    await systemClock.sleep(ms)
    await end()
    await fleet.together()
    counted = undefined
    cause.over()
    const tried = Object.values(counts).reduce((sum, count) => sum + count, 0)
    const share = (counts['served'] ?? 0) / tried
    totals.tried += tried
    totals.served += counts['served'] ?? 0
    process.stdout.write(`${name}: ${tried} logins, ${(100 * share).toFixed(2)} % succeeded ${JSON.stringify(counts)}\n`)
    // What is moved now is there at once, through either instance.
    for (const account of ACCOUNTS.slice(0, 20)) await move(fleet, judge, account, random)
  }
  const crowd = new Crowd(doors, { accounts: ACCOUNTS, lanes: 8, rest: 10, size: 2_000, stayers: 0, random, patience: PATIENCE_MS }, (trip) => {
    const counts = counted
    const back = judge.setOut(trip)
    return {
      back(result) {
        back(result)
        if (counts !== undefined) counts[result.outcome] = (counts[result.outcome] ?? 0) + 1
      },
    }
  })
  try {
    for (let round = 0; round < rounds; round++) {
      await part('stopped by SIGSTOP', () => fleet.redis.freeze(), () => fleet.redis.thaw())
      await part('killed, started again', () => fleet.redis.stop(), () => fleet.redis.start())
      await part('restarted at once', async () => {
        await fleet.redis.stop()
        await fleet.redis.start()
      }, () => {})
      await part('emptied', async () => {
        judge.emptied()
        await fleet.flush()
      }, () => {})
    }
  } catch (error) {
    failures.push(String(error))
  }
  await crowd.stop()
  failures.push(...judge.violations())
  const share = totals.served / totals.tried
  process.stdout.write(`in all: ${totals.tried} logins, ${(100 * share).toFixed(3)} % succeeded; ${judge.judged} places judged; violated: ${failures.length === 0 ? 'nothing' : `\n${failures.slice(0, 10).join('\n')}`}\n`)
  return failures.length === 0 && share >= LEAST ? 0 : 1
}

/** Every worker of every instance has every account in its cache. */
async function warm(fleet: ChaosFleet): Promise<void> {
  for (const account of ACCOUNTS) {
    for (const { name, box } of fleet.members) {
      await until(`${account} is in every cache of ${name}`, async () => {
        const { status, json } = await box.admin.lookup(account, { workers: 'all' })
        const workers: unknown = typeof json === 'object' && json !== null && 'workers' in json ? json.workers : undefined
        return status === 200 && Array.isArray(workers) && workers.length === 2 && workers.every((worker: { source: string }) => worker.source === 'cache')
      })
    }
  }
}

async function move(fleet: ChaosFleet, judge: Judge, account: string, random: Random): Promise<void> {
  const [, ...others] = fleet.destinations
  const value = random.pick(others.filter((name) => name !== judge.value(account)))
  const member = random.pick(fleet.members)
  await until(`${account} can be moved`, async () => {
    const change = judge.changing(account, value, member.name)
    const answer = await member.box.admin.put(account, value)
    const confirmed = answer.status === 200 && answer.headers['signalbox-unconfirmed'] === undefined
    if (confirmed) change.acknowledged(MEMBERS)
    change.over(answer.status === 200 || answer.status === 504 ? 'done' : 'unknown')
    return confirmed
  })
}
