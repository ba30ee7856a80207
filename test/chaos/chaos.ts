/**
 * The run: visitors in all protocols and operators at work, rounds of faults that a seed chooses, and after each round a calm
 * in which everything must be well again: the fleet together, every worker agreed with the store, every change confirmed by
 * all, every door of both instances open. Gives what was done, what was seen, and what was violated.
 */
import { systemClock } from '../../src/clock.ts'
import { until } from '../support/fleet-rig.ts'
import { Operators } from './changes.ts'
import { Crowd } from './crowd.ts'
import type { Trip } from './crowd.ts'
import { FAULTS, suffer } from './faults.ts'
import type { Scene } from './faults.ts'
import { ChaosFleet, MEMBERS } from './fleet.ts'
import { Judge } from './judge.ts'
import { Random } from './random.ts'
import { visit } from './visit.ts'
import type { Visit } from './visit.ts'

const FIRST = 'chaos@example.com'
const ACCOUNTS = [FIRST, ...Array.from({ length: 39 }, (_, index) => `chaos${index}@example.com`)]
const LANES = 10
const ROUND_MS = 9_000
const FAULTS_AT_ONCE = 2
/** Nothing of ours stands still for so long, so nobody waits for longer. */
const PATIENCE_MS = 20_000
const CALM_MS = 60_000

/** The first round in which something is done wrong on purpose: one without it shows that nothing else was. */
const SEEDED_ROUND = 2
/** Somebody whom no operator and no visitor knows: nothing excuses what happens to it. It has no mapping. */
const STRANGER = 'stranger@example.com'
/** Visits that must notice, at most, one after the other. */
const TRIES = 40
const REST_MS = 50
/** How long a session stays that is about to be cut: so many times a pause. */
const STAY = { rounds: 60, pause: 250 }
/** What the judge must say of it. */
const NAMED: Readonly<Record<Seeded, RegExp>> = {
  route: /^[ab], \w+ \w+: \S+: \S+ \(.*\) instead of version/,
  byte: /other bytes/,
  silence: /left unanswered/,
  cut: /stranger.*: cut on .* without a fault/,
}

/** What can be done wrong on purpose, unknown to the judge; the run must fail, and not before. */
export const SEEDED = ['route', 'byte', 'silence', 'cut'] as const
export type Seeded = (typeof SEEDED)[number]

export interface ChaosOptions {
  readonly minutes: number
  readonly seed: number
  readonly source: 'redis' | 'file'
  readonly disk?: string | undefined
  readonly seeded?: Seeded | undefined
  /** Told what happens, line by line. */
  readonly say?: (line: string) => void
}

export interface ChaosReport {
  readonly rounds: number
  readonly faults: Readonly<Record<string, number>>
  readonly operations: Readonly<Record<string, number>>
  readonly visits: Readonly<Record<string, number>>
  /** Logins whose destination was judged, changes confirmed, changes whose outcome was unknown. */
  readonly judged: number
  readonly confirmed: number
  readonly unknown: number
  readonly violations: readonly string[]
  /** The violation that was seeded, as the judge of visits put it; undefined: it found none of that kind. */
  readonly named: string | undefined
}

/** Starts a fleet, does it all, and ends it. Ends early, after the round, when something was violated. */
export async function chaos({ minutes, seed, source, disk, seeded, say = () => {} }: ChaosOptions): Promise<ChaosReport> {
  await using fleet = await ChaosFleet.start({ source, accounts: ACCOUNTS, ...(disk === undefined ? {} : { disk }) })
  const judge = new Judge(ACCOUNTS, MEMBERS)
  for (const [index, value] of (await fleet.stored(ACCOUNTS)).entries()) judge.known(ACCOUNTS[index] ?? '', value)
  const random = new Random(seed)
  const operators = new Operators(fleet, judge, ACCOUNTS, new Random(seed + 1))
  const scene: Scene = { fleet, judge, operators, random, disk }
  const crowd = new Crowd(fleet, { accounts: ACCOUNTS, lanes: LANES, rest: 30, size: 60_000, stayers: 20, random: new Random(seed + 2), patience: PATIENCE_MS }, (trip) => ({ back: judge.setOut(trip) }))
  const faults: Record<string, number> = {}
  const end = systemClock.now() + minutes * 60_000
  const least = seeded === undefined ? 1 : SEEDED_ROUND
  let rounds = 0
  try {
    do {
      rounds++
      // By itself, so that no fault can hide or excuse it.
      if (seeded !== undefined && rounds >= SEEDED_ROUND) await sabotage(seeded, scene)
      else await round(scene, Math.min(ROUND_MS, Math.max(1_000, end - systemClock.now())), minutes >= 2, (name, what) => {
        faults[name] = (faults[name] ?? 0) + 1
        say(`round ${rounds}: ${what}`)
      })
      await calm(scene)
      say(`round ${rounds}: all is well; ${JSON.stringify(judge.tally)}`)
    } while ((systemClock.now() < end || rounds < least) && judge.violated === 0)
  } catch (error) {
    judge.violation(`${String(error)}\n${fleet.members.map(({ name, box }) => `${name} said at last:\n${box.lines.slice(-12).map(({ text }) => text).join('\n')}\n${box.errors}`).join('\n')}`)
  } finally {
    await Promise.all([operators.stop(), crowd.stop()])
  }
  await judge.settled()
  const violations = judge.violations()
  const named = seeded === undefined ? undefined : violations.find((violation) => NAMED[seeded].test(violation))
  return { rounds, faults, operations: operators.done, visits: judge.tally, judged: judge.judged, confirmed: judge.confirmed, unknown: judge.unknown, violations, named }
}

/** Some faults at a time, at different places, for so long. */
async function round(scene: Scene, ms: number, long: boolean, report: (name: string, what: string) => void): Promise<void> {
  const over = systemClock.now() + ms
  const places = new Set<string>()
  const lane = async (): Promise<void> => {
    for (;;) {
      await systemClock.sleep(scene.random.between(100, 1_200))
      if (systemClock.now() > over) return
      const fault = scene.random.pick(FAULTS.filter(({ where, long: lasting }) => (where?.(scene) ?? true) && (long || lasting !== true)))
      const place = fault.place(scene)
      if (places.has(place)) continue
      places.add(place)
      report(fault.name, await suffer(fault, scene, place))
      places.delete(place)
    }
  }
  // One that fails must not leave the others' processes stopped.
  for (const end of await Promise.allSettled(Array.from({ length: FAULTS_AT_ONCE }, lane))) if (end.status === 'rejected') throw end.reason
}

/** Everything is well again, or that is a violation. */
async function calm(scene: Scene): Promise<void> {
  const { fleet, judge, operators, random } = scene
  await operators.halt()
  await fleet.together()
  for (const { name, box } of fleet.members) await until(`${name} has two workers`, () => box.workers().size === 2, CALM_MS)
  const held = await fleet.stored(ACCOUNTS)
  for (const [index, account] of ACCOUNTS.entries()) {
    for (const { name, box } of fleet.members) {
      await until(
        `every worker of ${name} agrees with the store about ${account}`,
        async () => {
          const { status, json } = await box.admin.lookup(account, { workers: 'all' })
          const workers: unknown = typeof json === 'object' && json !== null && 'workers' in json ? json.workers : undefined
          if (status !== 200 || !Array.isArray(workers)) return false
          return workers.every((worker: { destination: string; routed_to_default: boolean }) => (worker.routed_to_default ? undefined : worker.destination) === held[index])
        },
        CALM_MS,
      )
    }
    judge.read(account, held[index])
  }
  for (const member of fleet.members) {
    const account = random.pick(ACCOUNTS)
    await until(`a change by ${member.name} is confirmed by all`, async () => {
      if (!judge.free(account)) judge.read(account, (await fleet.stored([account]))[0])
      return operators.put(member, account)
    }, CALM_MS)
  }
  for (const member of fleet.members) {
    for (const door of member.doors) {
      const account = random.pick(ACCOUNTS)
      let last = ''
      await until(`${member.name} serves ${door.protocol} ${door.tls}`, async () => {
        const result = await come(scene, { member, door, account })
        last = JSON.stringify(result)
        return result.outcome === 'served'
      }, CALM_MS).catch((error: unknown) => judge.violation(`${String(error)}: ${last}`))
    }
  }
  await judge.settled()
  judge.calm()
  operators.resume()
}

/** Does what the judge doesn't know of, and sends somebody who must notice. */
async function sabotage(seeded: Seeded, scene: Scene): Promise<void> {
  const { fleet, judge, operators, random } = scene
  switch (seeded) {
    case 'route': {
      // As if the store had forgotten a change that was confirmed. Nobody changes it before the calm has read it.
      await operators.halt()
      const [, ...others] = fleet.destinations
      const wrong = others.find((name) => !judge.allows(FIRST, name))
      if (wrong === undefined) throw new Error('there is no wrong place')
      await fleet.set(FIRST, wrong)
      return noticed(scene, (turn) => go(scene, turn, FIRST))
    }
    case 'byte':
      return noticed(scene, async (turn) => {
        for (const house of fleet.houses) house.spoil()
        await go(scene, turn, STRANGER)
      })
    case 'silence': {
      const member = random.pick(fleet.members)
      const { clients } = member.links
      const door = member.doors.find(({ port }) => port === clients.port)
      if (door === undefined) throw new Error('no door behind the link')
      clients.pause()
      try {
        await come(scene, { member, door, account: STRANGER })
      } finally {
        clients.resume()
      }
      return
    }
    case 'cut': {
      const member = random.pick(fleet.members)
      const door = random.pick(member.doors.filter(({ protocol }) => NAMES_WORKER.includes(protocol)))
      const { box } = member
      const from = box.lines.length
      const coming = come(scene, { member, door, account: STRANGER }, STAY)
      const { worker } = await box.line(({ event, account }) => event === 'login' && account === STRANGER, PATIENCE_MS, from)
      const pid = typeof worker === 'number' ? box.workers().get(worker) : undefined
      if (pid === undefined) throw new Error('nobody to kill')
      process.kill(pid, 'SIGKILL')
      await coming
    }
  }
}

/** Protocols whose log lines name account and worker. */
const NAMES_WORKER: readonly string[] = ['imap', 'pop3', 'managesieve', 'submission']

/** Visits until something was violated. */
async function noticed({ judge }: Scene, next: (turn: number) => Promise<void>): Promise<void> {
  for (let turn = 0; turn < TRIES && judge.violated === 0; turn++) {
    await next(turn)
    await systemClock.sleep(REST_MS)
  }
}

/** Through each door that has a login in turn. */
async function go(scene: Scene, turn: number, account: string): Promise<void> {
  const doors = scene.fleet.members.flatMap((member) => member.doors.filter(({ protocol }) => NAMES_WORKER.includes(protocol)).map((door) => ({ member, door })))
  const where = doors[turn % doors.length]
  if (where !== undefined) await come(scene, { ...where, account })
}

/** One visit, and its judgement. */
async function come({ fleet, judge, random }: Scene, trip: Trip, stay = { rounds: 1, pause: 0 }): Promise<Visit> {
  const back = judge.setOut(trip)
  const { door, account } = trip
  const result = await visit({ door, ca: fleet.ca, account, size: 2_000, ...stay, patience: PATIENCE_MS, seed: random.between(0, 2 ** 30) })
  back(result)
  return result
}
