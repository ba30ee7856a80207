/**
 * The same promise over real processes: two instances with two workers each, a real Redis, and proxies of their own before
 * source and bus. Steps are done one after the other; what every worker answers is judged by the ledger. The store is read by hand
 * around every step, since a write that got no answer may land later.
 *
 * A run of processes can't be repeated exactly, so nothing is shrunk: a violation is reported with the steps before it.
 */
import fc from 'fast-check'
import { systemClock } from '../../src/clock.ts'
import { FleetRig, PREFIX, until } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import type { AdminAnswer } from '../support/signalbox.ts'
import { Ledger } from './ledger.ts'
import type { Floors, Value } from './ledger.ts'
import { KEYS } from './step.ts'

const INSTANCES = ['a', 'b']
const HEARTBEAT = 200
const BUS_DOWN_TTL = 1_000
const LOOKUP_TIMEOUT = 300
/** What a busy machine may add; the life of a route is far above it, so that the bound has a meaning. */
const SLACK = 4_000
const BUS_BOUND = Math.max(BUS_DOWN_TTL, 4 * HEARTBEAT) + LOOKUP_TIMEOUT + SLACK
/** A watch is made anew within RECONNECT_MAX_MS. */
const WATCH_BOUND = BUS_BOUND + 6_000
/** Nobody listens there: the model looks, it doesn't log in. */
const NOWHERE = 9
const VALUES = Array.from({ length: 60 }, (_, index) => `d${index}`)
/** An account that nobody asks for. */
const PROBE = 'probe@example.com'
/** A look at whether all is well, after that many steps. */
const CALM_EVERY = 50
const STEPS_SHOWN = 25

type Fault = 'cut' | 'pause' | 'delay' | 'mend'
type Step =
  | { readonly do: 'put' | 'delete' | 'invalidate'; readonly who: number; readonly key: number }
  | { readonly do: 'invalidate-all' | 'reload'; readonly who: number }
  | { readonly do: 'set' | 'del' | 'look'; readonly key: number }
  | { readonly do: 'bus' | 'source'; readonly who: number; readonly how: Fault }
  | { readonly do: 'kill'; readonly who: number; readonly worker: number }
  | { readonly do: 'restart'; readonly who: number; readonly how: 'SIGKILL' | 'SIGTERM' }
  | { readonly do: 'wait'; readonly ms: number }

const who = fc.nat(1)
const key = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(KEYS.length - 1) })
const fault = fc.constantFrom<Fault[]>('cut', 'pause', 'delay', 'mend', 'mend', 'mend')
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 120, arbitrary: fc.record({ do: fc.constantFrom('put' as const, 'put' as const, 'put' as const, 'delete' as const, 'invalidate' as const), who, key }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('invalidate-all' as const, 'reload' as const), who }) },
  { weight: 160, arbitrary: fc.record({ do: fc.constantFrom('set' as const, 'del' as const, 'look' as const, 'look' as const, 'look' as const), key }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('bus' as const, 'source' as const), who, how: fault }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('kill' as const), who, worker: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), who, how: fc.constantFrom('SIGKILL' as const, 'SIGTERM' as const) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 120 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 500, max: 1_500 }) }) },
)

export interface Outcome {
  readonly violations: readonly string[]
  readonly operations: number
  readonly lookups: number
  readonly calms: number
  /** Lookups and changes that outlasted the source's deadline although nobody broke anything: the machine had too much to do. */
  readonly late: number
}

/** Starts a fleet and does that many random operations to it; ends at the first violation. */
export async function run(operations: number, seed: number): Promise<Outcome> {
  const steps = fc.sample(step, { numRuns: operations, seed })
  await using rig = await FleetRig.start(INSTANCES, {
    destinations: Object.fromEntries(['elsewhere', ...VALUES].map((name) => [name, NOWHERE])),
    mapping: { settle: '0s', positive_ttl: '1h', negative_ttl: '1h', lookup_timeout: `${LOOKUP_TIMEOUT}ms` },
    cluster: { heartbeat: `${HEARTBEAT}ms`, bus_down_ttl: `${BUS_DOWN_TTL}ms`, ack_timeout: '5s' },
  })
  const fleet = new Processes(rig)
  return await fleet.play(steps)
}

class Processes {
  readonly #rig: FleetRig
  readonly #ledger = new Ledger({ bus: BUS_BOUND, watch: WATCH_BOUND, life: Number.POSITIVE_INFINITY })
  readonly #violations: string[] = []
  /** Their bus is broken, or was and isn't up again yet. */
  readonly #unheard = new Set<string>()
  /** Clock time at which a bus was mended last. */
  readonly #mended = new Map<string, number>()
  /** Something is broken, or was and has not been seen well again. */
  #disturbed = false
  /** Lookups and changes without a fault that outlasted the source's deadline. */
  #late = 0
  #values = 0
  #lookups = 0
  #calms = 0

  constructor(rig: FleetRig) {
    this.#rig = rig
  }

  async play(steps: readonly Step[]): Promise<Outcome> {
    let done = 0
    for (const one of steps) {
      done++
      try {
        await this.#heard()
        await this.#read()
        await this.#step(one)
        if (done % CALM_EVERY === 0 || done === steps.length) await this.#calm()
      } catch (error) {
        this.#violations.push(`${String(error)}\n${this.#rig.members.map((member) => this.#lastWords(member)).join('\n')}`)
      }
      if (this.#violations.length === 0) continue
      this.#violations.push(`the steps before: ${steps.slice(Math.max(0, done - STEPS_SHOWN), done).map((step) => JSON.stringify(step)).join(' ')}`)
      break
    }
    return { violations: this.#violations, operations: done, lookups: this.#lookups, calms: this.#calms, late: this.#late }
  }

  async #step(one: Step): Promise<void> {
    switch (one.do) {
      case 'wait':
        return systemClock.sleep(one.ms)
      case 'look':
        return this.#look(keyOf(one.key))
      case 'set':
        await this.#rig.set(keyOf(one.key), this.#fresh())
        return
      case 'del':
        await this.#rig.hand.del(PREFIX + keyOf(one.key))
        return
      default:
    }
    const member = this.#rig.pair[one.who === 0 ? 0 : 1]
    switch (one.do) {
      case 'put':
      case 'delete':
      case 'invalidate':
        return void (await this.#change(member, one.do, keyOf(one.key)))
      case 'invalidate-all':
        return void (await member.admin.request('POST', '/cache/invalidate'))
      case 'reload':
        return void (await member.admin.request('POST', '/mappings/reload'))
      case 'bus':
      case 'source': {
        this.#disturbed = true
        if (one.do === 'bus' && (one.how === 'cut' || one.how === 'pause')) this.#unheard.add(member.name)
        const proxy = member[one.do]
        if (one.how === 'cut') proxy.refuse()
        else if (one.how === 'pause') proxy.pause()
        else if (one.how === 'delay') proxy.delay(20)
        else if (one.do === 'source') mend(proxy)
        else this.#mendBus(member)
        return
      }
      case 'kill': {
        this.#disturbed = true
        const pid = [...member.box.workers().values()][one.worker]
        // It may be on its way out already, killed by the step before.
        if (pid !== undefined) {
          try {
            process.kill(pid, 'SIGKILL')
          } catch {
            return
          }
        }
        return
      }
      case 'restart':
        this.#disturbed = true
        mend(member.source)
        this.#mendBus(member)
        await member.restart(one.how)
        // It has said hello, under a new epoch.
        this.#unheard.add(member.name)
    }
  }

  /** True: it was confirmed here. */
  async #change(member: FleetMember, what: 'put' | 'delete' | 'invalidate', key: string): Promise<boolean> {
    const disturbed = this.#disturbed
    const value = what === 'put' ? this.#fresh() : undefined
    const before = this.#ledger.latest(key)
    const began = systemClock.now()
    const answer =
      what === 'put' && value !== undefined
        ? await member.admin.put(key, value)
        : what === 'delete'
          ? await member.admin.delete(key)
          : await member.admin.request('POST', '/cache/invalidate', { identifier: key })
    const committed = answer.status === 200 || answer.status === 504
    if (what !== 'invalidate' && committed) {
      // A late write of another's may have come behind ours: then the reading finds that one.
      this.#ledger.committed(key, value, member.name, systemClock.now())
      if (!this.#unheard.has(member.name)) this.#ledger.told(member.name, systemClock.now())
    }
    const version = what === 'invalidate' ? before : this.#ledger.latest(key)
    if (answer.status === 200) this.#ledger.acknowledged(member.name, key, version)
    if (committed) for (const peer of confirming(answer)) this.#ledger.acknowledged(peer, key, version)
    if (disturbed) return answer.status === 200
    const others = INSTANCES.filter((name) => name !== member.name)
    if (answer.status === 503 && systemClock.now() - began >= LOOKUP_TIMEOUT) {
      // As with a lookup (#unknown).
      this.#late++
      this.#disturbed = true
    } else if (answer.status !== 200 || others.some((name) => !confirming(answer).includes(name))) {
      this.#violations.push(`${what} by ${member.name} was not confirmed by all without a fault: ${answer.status} ${answer.body}`)
    }
    return answer.status === 200
  }

  /** Asks every worker of every instance. */
  async #look(key: string): Promise<void> {
    const disturbed = this.#disturbed
    const answers = await Promise.all(
      this.#rig.members.map(async (member) => {
        const began = systemClock.now()
        const floors = this.#ledger.floors({ instance: member.name, watches: true }, key, began)
        const routes = await member.routes(key)
        return { member, floors, routes, took: systemClock.now() - began }
      }),
    )
    // What has landed meanwhile was a right answer.
    await this.#read()
    for (const { member, floors, routes, took } of answers) {
      if (routes === undefined && !disturbed) this.#unknown(member, key, took)
      for (const { destination, source, routed_to_default } of routes ?? []) {
        this.#lookups++
        this.#judge(member, key, routed_to_default ? undefined : destination, source, floors)
      }
    }
  }

  /**
   * Nobody broke anything. On a machine with far too much to do the source's answer may be later than a lookup waits for it: then
   * "not known" is right, and remembered for a while, as after any other failure. An answer that came sooner has no excuse.
   */
  #unknown({ name }: FleetMember, key: string, took: number): void {
    if (took < LOOKUP_TIMEOUT) this.#violations.push(`${name} doesn't know ${key} without a fault (after ${Math.round(took)} ms)`)
    this.#late++
    this.#disturbed = true
  }

  #judge(member: FleetMember, key: string, value: Value, source: string, floors: Floors): void {
    const wrong = this.#ledger.violation(key, value, source === 'stale', floors)
    if (wrong !== undefined) this.#violations.push(`a worker of ${member.name} (${source}): ${wrong}`)
  }

  /** What the store holds now is the newest version. */
  async #read(): Promise<void> {
    const held = await this.#rig.hand.mget(KEYS.map((key) => PREFIX + key))
    for (const [index, key] of KEYS.entries()) {
      const value = held[index] ?? undefined
      if (value !== this.#ledger.value(key)) this.#ledger.committed(key, value, undefined, systemClock.now())
    }
  }

  /** Whoever could not be heard and is on the bus again has told that something was missed. */
  async #heard(): Promise<void> {
    for (const member of this.#rig.members) {
      if (!this.#unheard.has(member.name) || !member.bus.whole) continue
      // A bus is said to be up until three heartbeats of silence: what is said sooner may be of the time before.
      if (systemClock.now() - (this.#mended.get(member.name) ?? 0) < 4 * HEARTBEAT || (await member.stat('bus')) !== 'up') continue
      this.#unheard.delete(member.name)
      this.#ledger.told(member.name, systemClock.now())
    }
  }

  #mendBus({ name, bus }: FleetMember): void {
    if (!bus.whole) this.#mended.set(name, systemClock.now())
    mend(bus)
  }

  /** Mends everything: all must be together again, acknowledge, and agree with the store. */
  async #calm(): Promise<void> {
    this.#calms++
    for (const member of this.#rig.members) {
      mend(member.source)
      this.#mendBus(member)
    }
    for (const member of this.#rig.members) {
      await until(`${member.name} has its workers, bus and watch`, async () => {
        const [bus, watch] = await Promise.all([member.stat('bus'), member.stat('watch')])
        return bus === 'up' && watch === 'on' && member.box.workers().size === 2
      })
    }
    await this.#rig.together()
    // What they say of the bus may be of the time before: well is who is heard by all.
    for (const member of this.#rig.members) {
      await until(`${member.name} is heard`, async () => {
        const probe = await member.admin.request('POST', '/cache/invalidate', { identifier: PROBE })
        return probe.status === 200 && confirming(probe).length === INSTANCES.length - 1
      })
      if (this.#unheard.delete(member.name)) this.#ledger.told(member.name, systemClock.now())
    }
    for (const key of KEYS) {
      for (const member of this.#rig.members) {
        // Bounded by what is remembered of a failed lookup and by the doubts that are on their way.
        await until(`${member.name} agrees with the store about ${key}`, async () => {
          await this.#look(key)
          const routes = await member.routes(key)
          const held = this.#ledger.value(key)
          return routes?.length === 2 && routes.every((route) => (route.routed_to_default ? undefined : route.destination) === held)
        })
      }
    }
    // Lookups and writes go by connections of their own, each with its own pause before it is made anew.
    for (const member of this.#rig.members) await until(`${member.name} writes`, () => this.#change(member, 'put', KEYS[0]))
    this.#disturbed = false
    for (const member of this.#rig.members) await this.#change(member, 'put', KEYS[0])
    await this.#look(KEYS[0])
  }

  #lastWords({ name, box }: FleetMember): string {
    return `${name} said at last:\n${box.lines.slice(-12).map(({ text }) => text).join('\n')}\n${box.errors}`
  }

  #fresh(): string {
    return VALUES[this.#values++ % VALUES.length] ?? 'd0'
  }
}

function keyOf(index: number): string {
  return KEYS[index] ?? KEYS[0]
}

function mend(proxy: FleetMember['bus']): void {
  proxy.delay(0)
  proxy.resume()
  proxy.accept()
}

/** Peers that have acknowledged. */
function confirming({ json }: AdminAnswer): readonly string[] {
  const peers = typeof json === 'object' && json !== null && 'peers' in json && Array.isArray(json.peers) ? json.peers : []
  return peers.filter(({ acknowledged }: { acknowledged: boolean }) => acknowledged).map(({ instance }: { instance: string }) => instance)
}
