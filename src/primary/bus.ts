/** This instance's way onto the bus: from the configuration to a member that the fleet actor speaks through. */
import type { ActorRef } from '../actor/message.ts'
import { configurationDigest } from '../bus/digest.ts'
import type { InstanceFacts, InstanceSessions, SessionsQuery } from '../bus/payload.ts'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/config.ts'
import { asSignalboxError } from '../errors.ts'
import type { SignalboxError } from '../errors.ts'
import * as events from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { Seldom } from '../observe/seldom.ts'
import { BusMember } from './bus-member.ts'
import type { BusMemberOptions, BusReport } from './bus-member.ts'
import type { Fleet, FleetMessage } from './fleet.ts'

export interface BusSurroundings {
  /** The one in force now. */
  readonly config: () => Config
  readonly clock: Clock
  readonly log: Logger
  readonly epoch: number
  readonly facts: () => InstanceFacts
  readonly stats: BusMemberOptions['stats']
  readonly sessions: (query: SessionsQuery) => Promise<InstanceSessions>
  readonly happened: (peer: string, state: 'joined' | 'left' | 'lost') => void
  readonly fleet: Fleet
  readonly fleetRef: ActorRef<FleetMessage>
}

/** Over what the workers may take to obey. */
const MARGIN_MS = 1_000
/** Doubts are logged at most this often, and so is each kind of failure. */
const DOUBT_LOG_MS = 10_000

/**
 * Joins the bus that is configured; undefined: there is none, or a bus that nobody asked for by name refused us (a warning).
 * Rejects with BUS_REFUSED or BUS_DOWN: then the instance must not start.
 */
export async function joinBus(surroundings: BusSurroundings): Promise<BusMember | undefined> {
  const { config, clock, log, epoch, facts, stats, sessions, fleet, fleetRef } = surroundings
  const { cluster, mapping } = config()
  if (cluster.bus === undefined) return undefined
  const deadline = cluster.ackTimeout + MARGIN_MS
  // The client of a bus is loaded by those who have one.
  const { RedisTransport } = await import('../bus/redis.ts')
  const doubts = new Seldom(clock, DOUBT_LOG_MS)
  const member = new BusMember({
    cluster,
    clock,
    transport: new RedisTransport({ url: cluster.bus, clock, heartbeat: cluster.heartbeat, ca: cluster.ca }),
    epoch,
    allowUnavailable: mapping.onFailureSet,
    facts,
    destinations: () => config().destinations.map(({ name }) => name),
    holds: () => fleet.holds(),
    stats,
    sessions,
    states: () => fleet.states(),
    adopt: (states) => fleetRef.tell({ type: 'adopt', states }),
    obey: (change) => fleetRef.ask({ type: 'obey', change }, deadline),
    doubt: (reason, quiet, kicks) => {
      // A flood of bad frames is one line now and then.
      const times = quiet ? undefined : doubts.times('doubt')
      if (times !== undefined) events.busDoubt(log, { reason, times })
      fleetRef.ask({ type: 'doubt', reason, kicks }, deadline).catch((error: unknown) => events.changeUnconfirmed(log, { change: 'doubt', error: asSignalboxError(error) }))
    },
    told: report(surroundings),
  })
  try {
    fleet.attach(member, await member.join())
    return member
  } catch (thrown) {
    const error = asSignalboxError(thrown, 'BUS_DOWN')
    if (cluster.busExplicit || error.code !== 'BUS_REFUSED') throw error
    events.busRefused(log, { error })
    return undefined
  }
}

/** What peers must agree on, and who we are. */
export function factsOf(config: Config, version: string, workers: number): InstanceFacts {
  return { digest: configurationDigest(config), version, workers }
}

function report({ log, clock, fleetRef: fleet, happened }: BusSurroundings): BusReport {
  const failures = new Seldom(clock, DOUBT_LOG_MS)
  return {
    up(seconds) {
      events.busRecovered(log, { seconds: Math.round(seconds * 10) / 10 })
      fleet.tell({ type: 'bus', up: true })
    },
    beat: (at) => fleet.tell({ type: 'beat', at }),
    down(reason) {
      events.busLost(log, { reason })
      fleet.tell({ type: 'bus', up: false })
    },
    joined(peer) {
      happened(peer, 'joined')
      events.peerJoined(log, { peer })
    },
    left(peer) {
      happened(peer, 'left')
      events.peerLeft(log, { peer })
    },
    lost(peer) {
      happened(peer, 'lost')
      events.peerLost(log, { peer, reason: 'silent for three heartbeats' })
    },
    differs: (peer) => events.peerDiffers(log, { peer }),
    twin: (times) => events.busTwin(log, { times }),
    strangers: ({ names, reason }, times) => events.busStrangers(log, { names, reason, times }),
    failed(what: string, error: SignalboxError) {
      const times = failures.times(`${what} ${error.code}`)
      if (times !== undefined) events.busFailed(log, { what, error, times })
    },
  }
}
