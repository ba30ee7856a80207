/** A member of a bus in memory that keeps what it was told, for tests of the bus. */
import { setImmediate as turn } from 'node:timers/promises'
import type { ClusterConfig } from '../../src/config/config.ts'
import { BusMember } from '../../src/primary/bus-member.ts'
import type { BusMemberOptions, Change } from '../../src/primary/bus-member.ts'
import type { ActiveHold } from '../../src/bus/payload.ts'
import { BusHub } from './bus-hub.ts'
import type { HubEnd } from './bus-hub.ts'
import type { Clock } from '../../src/clock.ts'
import type { FakeClock } from './fake-clock.ts'

export const HEARTBEAT = 1_000

export interface ActorOptions extends Partial<Omit<BusMemberOptions, 'cluster'>> {
  readonly cluster?: Partial<ClusterConfig>
}

export class Actor {
  readonly name: string
  readonly epoch: number
  readonly end: HubEnd
  readonly member: BusMember
  /** Doubts that are worth a line, and those that aren't. */
  readonly doubts: string[] = []
  /** Those after which kicks are missing. */
  readonly kicksMissed: string[] = []
  readonly quiet: string[] = []
  readonly obeyed: Change[] = []
  /** Everything it was told, as "event" or "event detail". */
  readonly told: string[] = []
  /** Until when everything that was said has been heard, as far as it was told. */
  beat: number | undefined
  digest = 'same'
  destinations: string[] = ['alpha', 'beta']
  holds: ActiveHold[] = []
  /** Set: obeying fails. */
  disobedient = false

  /** @param hub undefined: with a transport of its own in the options */
  constructor(hub: BusHub | undefined, clock: Clock, name: string, epoch: number, options: ActorOptions = {}) {
    const { cluster, ...more } = options
    this.name = name
    this.epoch = epoch
    this.end = (hub ?? new BusHub(clock)).connect(name)
    this.member = new BusMember({
      cluster: clusterOf(name, cluster),
      clock,
      transport: this.end,
      epoch,
      facts: () => ({ digest: this.digest, version: '1', workers: 2 }),
      destinations: () => this.destinations,
      holds: () => this.holds,
      stats: async () => ({ name, sessions: 7 }),
      obey: async (change) => {
        if (this.disobedient) throw new Error('a worker did not obey')
        this.obeyed.push(change)
        return change.kind === 'kick' ? 3 : 0
      },
      doubt: (reason, quiet, kicks) => {
        ;(quiet ? this.quiet : this.doubts).push(reason)
        if (kicks) this.kicksMissed.push(reason)
      },
      told: {
        up: () => this.told.push('up'),
        beat: (at) => (this.beat = at),
        down: (reason) => this.told.push(`down ${reason}`),
        joined: (peer) => this.told.push(`joined ${peer}`),
        left: (peer) => this.told.push(`left ${peer}`),
        lost: (peer) => this.told.push(`lost ${peer}`),
        differs: (peer) => this.told.push(`differs ${peer}`),
        twin: (times) => this.told.push(`twin ${times}`),
        strangers: ({ names, reason }, times) => this.told.push(`strangers ${names.join()} ${times}: ${reason}`),
        failed: (what, error) => this.told.push(`failed ${what} ${error.code}`),
      },
      ...more,
    })
  }

  /** How often everything it had cached became doubtful. */
  get doubtful(): number {
    return this.doubts.length + this.quiet.length
  }

  /** Joins; the clock must be moved by whoever waits for an instance that answers late. */
  join(): Promise<readonly ActiveHold[]> {
    return this.member.join()
  }

  peer(name: string): ReturnType<BusMember['peers']>[number] | undefined {
    return this.member.peers().find(({ instance }) => instance === name)
  }
}

export function clusterOf(instance: string, more: Partial<ClusterConfig> = {}): ClusterConfig {
  return {
    instance,
    bus: 'redis://unused',
    busExplicit: true,
    ca: undefined,
    channel: 'signalbox:test',
    secret: undefined,
    heartbeat: HEARTBEAT,
    ackTimeout: 2_000,
    busDownTtl: 5_000,
    ...more,
  }
}

/** Lets everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 4; turns++) await turn()
}

/** Moves the time on by heartbeats, letting frames arrive between them. */
export async function beats(clock: FakeClock, count: number): Promise<void> {
  for (let beat = 0; beat < count * 4; beat++) {
    clock.advance(HEARTBEAT / 4)
    await settle()
  }
}

/** How a promise stands without waiting for it. */
export async function outcomeOf<T>(promise: Promise<T>): Promise<{ value: T } | { error: unknown } | 'pending'> {
  await settle()
  return Promise.race([promise.then((value) => ({ value })), turn('pending' as const)]).catch((error: unknown) => ({ error }))
}
