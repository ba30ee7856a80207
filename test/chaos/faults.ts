/**
 * What is done to the fleet: one entry a fault. `begin` does it, tells the judge what that excuses, and gives its end; `place` names what it
 * is done to, so that two of them at a time don't get into each other's way.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import { findProgram } from '../support/programs.ts'
import type { Signalbox } from '../support/signalbox.ts'
import { UNWRITTEN_MS } from './causes.ts'
import type { Covers, Graces } from './causes.ts'
import type { Operators } from './changes.ts'
import type { ChaosFleet, House, Member } from './fleet.ts'
import type { Judge } from './judge.ts'
import type { Random } from './random.ts'

export interface Scene {
  readonly fleet: ChaosFleet
  readonly judge: Judge
  readonly operators: Operators
  readonly random: Random
  /** A small file system that the mapping file is on. */
  readonly disk: string | undefined
}

/** A fault that has begun. */
export interface Begun {
  /** For the report. */
  readonly what: string
  /** How long it lasts, milliseconds. */
  readonly lasts: number
  end(): void | Promise<void>
}

export interface Fault {
  readonly name: string
  readonly place: (scene: Scene) => string
  readonly begin: (scene: Scene, place: string) => Begun | Promise<Begun>
  /** Only where this holds. */
  readonly where?: (scene: Scene) => boolean
  /** Needs more time than a short run has. */
  readonly long?: boolean
}

/** A connection that is cut is known to be by then: what was on its way has been read. */
const CUT_MS = 2_000
/** Sessions that have moved are found by then: a bus that is back (RECONNECT_MAX_MS), a review, and the next (REVIEW_PAUSE_MS). */
const FOUND_MS = 20_000
/** Workers are started again and servers tried again with pauses (RESPAWN_MAX_MS, RECONNECT_MAX_MS). */
const AFTERMATH_MS = 10_000
/** After a standstill what has waited too long is closed. */
const CLOSED_MS = 5_000
/** An instance that is ready listens. */
const LISTENS_MS = 1_000
const MISSED: Graces = { moved: FOUND_MS }
const DEATH: Graces = { cut: CUT_MS, ended: AFTERMATH_MS, busy: AFTERMATH_MS, ...MISSED }
const SOURCE_AWAY: Graces = { busy: AFTERMATH_MS }
const BUS_AWAY: Graces = { ...SOURCE_AWAY, ...MISSED }
/** Whose log is not read at the moment. */
const unread = new WeakSet<Signalbox>()
const STANDSTILL_MS = 3_500
const STARTS = 8
const memberOf = ({ fleet }: Scene, place: string): Member => fleet.members.find(({ name }) => place.endsWith(` ${name}`)) ?? fail(place)
const aMember = (what: string) => ({ fleet, random }: Scene): string => `${what} ${random.pick(fleet.members).name}`
const houseOf = ({ fleet }: Scene, place: string): House => fleet.houses[Number(place.split(' ')[1])] ?? fail(place)
const aHouse = ({ fleet, random }: Scene): string => `house ${random.between(0, fleet.houses.length - 1)}`
const at =
  (member: Member): Covers =>
  ({ trip }) =>
    trip.member === member
const onRedis = ({ fleet }: Scene): boolean => fleet.source === 'redis'

function fail(place: string): never {
  throw new Error(`there is no ${place}`)
}

/** Sends a signal to what may be gone already. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself meanwhile, or has been replaced.
  }
}

/** Starts an instance as a service manager does: once more when it can't come up, for want of its source for example. */
async function again(member: Member): Promise<void> {
  for (let left = STARTS; ; left--) {
    try {
      member.box = await member.start()
      return
    } catch (error) {
      if (left === 0) throw error
    }
  }
}

/** Stops processes of an instance for a while. */
function standstill(scene: Scene, place: string, pids: readonly number[], who: string): Begun {
  const member = memberOf(scene, place)
  for (const pid of pids) signal(pid, 'SIGSTOP')
  const cause = scene.judge.begin({ ended: CLOSED_MS, busy: AFTERMATH_MS, ...MISSED }, at(member))
  const hold = scene.judge.hold((trip) => trip.member === member)
  return {
    what: `${who} of ${member.name} stopped`,
    lasts: scene.random.between(300, STANDSTILL_MS),
    end() {
      for (const pid of pids) signal(pid, 'SIGCONT')
      cause.over()
      hold.over()
    },
  }
}

/** A worker of an instance dies: its own sessions end, and nobody else's. Those before their login may be anywhere. */
function dying({ judge }: Scene, member: Member, worker: number): { over(): void } {
  const now = systemClock.now()
  // What is not read is not written either, once the pipe is full, and is lost with the worker.
  const unwritten = unread.has(member.box) ? Number.POSITIVE_INFINITY : UNWRITTEN_MS
  return judge.begin(DEATH, at(member), ({ outcome, trace }) => outcome !== 'cut' || trace.wasIn(worker, now, unwritten))
}

/** Breaks a way of an instance; clients only ever hear that they should come again. */
function brokenLink(which: 'source' | 'bus'): Fault {
  return {
    name: `${which} link`,
    place: aMember(`${which} link`),
    where: (scene) => which === 'bus' || onRedis(scene),
    begin(scene, place) {
      const member = memberOf(scene, place)
      const link = member.links[which]
      const how = scene.random.pick(['cut', 'pause', 'delay', 'reset'] as const)
      if (how === 'cut') link.refuse()
      else if (how === 'pause') link.pause()
      else if (how === 'delay') link.delay(150)
      else link.cut()
      const cause = scene.judge.begin(which === 'bus' ? BUS_AWAY : SOURCE_AWAY, at(member))
      return {
        what: `${which} link of ${member.name}: ${how}`,
        lasts: scene.random.between(200, 4_000),
        end() {
          // What a pause has held back is lost with its connections: a write that comes after the calm would be nobody's.
          if (how === 'pause') link.cut()
          link.delay(0)
          link.resume()
          link.accept()
          cause.over()
        },
      }
    },
  }
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'worker killed',
    place: aMember('processes'),
    begin(scene, place) {
      const member = memberOf(scene, place)
      const workers = [...member.box.workers()]
      if (workers.length === 0) return { what: 'nobody killed', lasts: 100, end() {} }
      const [worker, pid] = scene.random.pick(workers)
      const cause = dying(scene, member, worker)
      signal(pid, 'SIGKILL')
      return { what: `worker ${pid} of ${member.name} killed`, lasts: 100, end: () => cause.over() }
    },
  },
  {
    name: 'all workers killed',
    place: aMember('processes'),
    begin(scene, place) {
      const member = memberOf(scene, place)
      const cause = scene.judge.begin(DEATH, at(member))
      for (const pid of member.box.workers().values()) signal(pid, 'SIGKILL')
      return { what: `all workers of ${member.name} killed`, lasts: 500, end: () => cause.over() }
    },
  },
  {
    name: 'worker stopped',
    place: aMember('processes'),
    begin: (scene, place) => standstill(scene, place, [...memberOf(scene, place).box.workers().values()].slice(0, 1), 'a worker'),
  },
  {
    name: 'primary stopped',
    place: aMember('processes'),
    begin: (scene, place) => standstill(scene, place, [memberOf(scene, place).box.pid], 'the primary'),
  },
  {
    name: 'instance stopped',
    place: aMember('processes'),
    begin: (scene, place) => standstill(scene, place, [memberOf(scene, place).box.pid, ...memberOf(scene, place).box.workers().values()], 'all processes'),
  },
  {
    name: 'worker stalled',
    place: aMember('processes'),
    long: true,
    begin(scene, place) {
      const member = memberOf(scene, place)
      const [[worker, pid] = [0, 0]] = member.box.workers()
      if (pid === 0) return { what: 'nobody stopped', lasts: 100, end() {} }
      const cause = dying(scene, member, worker)
      const hold = scene.judge.hold((trip) => trip.member === member)
      signal(pid, 'SIGSTOP')
      return {
        what: `worker ${pid} of ${member.name} stopped until it is replaced`,
        // Longer than WORKER_STALL_MS: it is replaced.
        lasts: 13_000,
        end() {
          cause.over()
          hold.over()
        },
      }
    },
  },
  {
    name: 'instance killed',
    place: aMember('processes'),
    begin(scene, place) {
      const member = memberOf(scene, place)
      const how = scene.random.pick(['SIGKILL', 'SIGTERM'] as const)
      const cut = scene.judge.begin({ cut: CUT_MS }, at(member))
      const away = scene.judge.begin({ ended: AFTERMATH_MS, busy: AFTERMATH_MS, absent: LISTENS_MS, ...MISSED }, at(member))
      const stopped = member.box.stop(how)
      void stopped.then(() => cut.over())
      return {
        what: `instance ${member.name} ended by ${how}`,
        lasts: scene.random.between(100, 2_000),
        async end() {
          await stopped
          await again(member)
          away.over()
        },
      }
    },
  },
  {
    name: 'redis stopped',
    place: () => 'redis',
    begin({ fleet, judge, random }) {
      fleet.redis.freeze()
      const cause = judge.begin(BUS_AWAY, () => true)
      return {
        what: 'Redis stopped',
        lasts: random.between(300, 5_000),
        end() {
          fleet.redis.thaw()
          cause.over()
        },
      }
    },
  },
  {
    name: 'redis killed',
    place: () => 'redis',
    async begin({ fleet, judge, random }) {
      const cause = judge.begin(BUS_AWAY, () => true)
      await fleet.redis.stop()
      return {
        what: 'Redis killed and started again',
        lasts: random.between(100, 4_000),
        async end() {
          await fleet.redis.start()
          cause.over()
        },
      }
    },
  },
  {
    name: 'redis emptied',
    place: () => 'redis',
    where: onRedis,
    async begin({ fleet, judge, operators }) {
      // Nobody writes meanwhile: in which order that came, nobody could say.
      await operators.halt()
      judge.emptied()
      await fleet.flush()
      operators.resume()
      return { what: 'Redis emptied', lasts: 500, end() {} }
    },
  },
  {
    name: 'servers stopped',
    place: aHouse,
    begin(scene, place) {
      const house = houseOf(scene, place)
      signal(house.pid, 'SIGSTOP')
      const cause = scene.judge.begin({ busy: AFTERMATH_MS }, ({ goes }) => goes(house.names))
      return {
        what: `the servers ${house.names.join(' ')} stopped`,
        lasts: scene.random.between(300, STANDSTILL_MS),
        end() {
          signal(house.pid, 'SIGCONT')
          cause.over()
        },
      }
    },
  },
  {
    name: 'servers killed',
    place: aHouse,
    async begin(scene, place) {
      const house = houseOf(scene, place)
      const cause = scene.judge.begin({ cut: CUT_MS, ended: CLOSED_MS, busy: AFTERMATH_MS }, ({ goes }) => goes(house.names))
      await house.stop()
      return {
        what: `the servers ${house.names.join(' ')} killed and started again`,
        lasts: scene.random.between(100, 2_500),
        async end() {
          await house.start()
          cause.over()
        },
      }
    },
  },
  brokenLink('source'),
  brokenLink('bus'),
  {
    name: 'clients link',
    place: aMember('clients link'),
    begin(scene, place) {
      const member = memberOf(scene, place)
      const link = member.links.clients
      const how = scene.random.pick(['cut', 'pause', 'delay'] as const)
      const { port } = link
      // What is late is not lost: a link that stands still or is slow ends nothing.
      const cause = how === 'cut' ? scene.judge.begin({ cut: CUT_MS, ended: CUT_MS }, ({ trip }) => trip.door.port === port) : undefined
      const hold = scene.judge.hold((trip) => trip.door.port === port)
      if (how === 'cut') link.cut()
      else if (how === 'pause') link.pause()
      else link.delay(100)
      return {
        what: `clients link of ${member.name}: ${how}`,
        lasts: how === 'cut' ? 50 : scene.random.between(300, 3_000),
        end() {
          link.delay(0)
          link.resume()
          cause?.over()
          hold.over()
        },
      }
    },
  },
  {
    name: 'disk full',
    place: () => 'disk',
    where: ({ disk }) => disk !== undefined,
    begin({ disk = '', random }) {
      const filler = join(disk, 'filler')
      try {
        for (;;) writeFileSync(filler, Buffer.alloc(4_096), { flag: 'a' })
      } catch (error) {
        if (!(error instanceof Error) || !('code' in error) || error.code !== 'ENOSPC') throw error
      }
      return { what: 'the disk of the mapping file is full', lasts: random.between(500, 4_000), end: () => rm(filler, { force: true }) }
    },
  },
  {
    name: 'descriptors',
    place: aMember('descriptors'),
    where: () => findProgram('prlimit') !== undefined,
    begin(scene, place) {
      const member = memberOf(scene, place)
      const pid = scene.random.pick([member.box.pid, ...member.box.workers().values()])
      // Who is in has its descriptors: nobody is cut.
      const cause = scene.judge.begin({ ended: CLOSED_MS, busy: AFTERMATH_MS, ...MISSED }, at(member))
      let open = 0
      try {
        open = readdirSync(`/proc/${pid}/fd`).length
      } catch {
        // It has died meanwhile: nothing to limit.
      }
      const limit = (count: number | string): void => void spawnSync('prlimit', ['--pid', String(pid), `--nofile=${count}:`])
      const before = spawnSync('prlimit', ['--pid', String(pid), '--nofile', '--noheadings', '--raw', '--output=SOFT']).stdout.toString().trim()
      if (open > 0) limit(open + 2)
      return {
        what: `process ${pid} of ${member.name} has two descriptors left`,
        lasts: scene.random.between(300, 2_500),
        end() {
          limit(before === '' ? 'unlimited' : before)
          cause.over()
        },
      }
    },
  },
  {
    name: 'log not read',
    place: aMember('log'),
    begin(scene, place) {
      const { box, name } = memberOf(scene, place)
      box.deafen()
      unread.add(box)
      return {
        what: `the log of ${name} is not read`,
        lasts: scene.random.between(1_000, 4_000),
        end() {
          box.listen()
          unread.delete(box)
        },
      }
    },
  },
  {
    name: 'workers rolled',
    place: aMember('processes'),
    begin(scene, place) {
      const { box, name } = memberOf(scene, place)
      box.signal('SIGUSR2')
      return { what: `the workers of ${name} replaced one by one`, lasts: 1_000, end() {} }
    },
  },
  {
    name: 'another configuration',
    place: aMember('processes'),
    async begin(scene, place) {
      const member = memberOf(scene, place)
      const threads = scene.random.pick([1, 2, 3])
      await member.rewrite({ server: { threads }, limits: { auth_failure_delay: '20ms' } })
      member.box.signal('SIGHUP')
      return {
        what: `${member.name} loads a configuration with ${threads} workers`,
        lasts: scene.random.between(500, 3_000),
        async end() {
          await member.rewrite({})
          member.box.signal('SIGHUP')
        },
      }
    },
  },
]

/** Does a fault to its end: begins it, lets it last, ends it. */
export async function suffer(fault: Fault, scene: Scene, place: string): Promise<string> {
  const { what, lasts, end } = await fault.begin(scene, place)
  await systemClock.sleep(lasts)
  await end()
  return `${what}, ${lasts} ms`
}
