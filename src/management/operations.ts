/**
 * What the management API may ask of the instance. The routes know HTTP, this knows Signalbox; the primary's
 * composition root implements it over the actors. Identifiers that come in are normalised already. Errors are
 * SignalboxErrors (SOURCE_READ_ONLY, SOURCE_CONFLICT, SOURCE_UNAVAILABLE, SOURCE_TIMEOUT, SOURCE_WRITE, SOURCE_INVALID …).
 */
import type { SignalboxError } from '../errors.ts'
import type { MappingMistake } from '../mapping/source.ts'
import type { Happenings } from '../observe/happenings.ts'
import type { BulkOperations } from './bulk-operations.ts'
import type { SessionOperations } from './session-operations.ts'

/** Who has confirmed a change. */
export interface Confirmation {
  /** Local workers that acknowledged, and those that had to. Equal when the change is in force here. */
  readonly workers: number
  readonly workersExpected: number
  /** Peers by instance name; empty while this instance is alone. */
  readonly peers: readonly { readonly instance: string; readonly acknowledged: boolean }[]
  /** "none" without a bus. */
  readonly bus: 'none' | 'up' | 'down'
}

export interface Stats {
  readonly cache_hits: number
  readonly cache_misses: number
  readonly hit_rate_pct: number
  readonly cache_entries: number
  readonly active_connections: number
  readonly stale_served: number
  readonly lookup_failures: number
  readonly evictions: number
  readonly invalidations: number
  readonly audited: number
  readonly audit_stale: number
  readonly workers: number
  readonly instance: string
  readonly peers: readonly string[]
  readonly bus: 'none' | 'up' | 'down'
  /** Frames on the bus that could not be believed or read. */
  readonly bus_invalid_frames: number
  readonly watch: 'off' | 'on' | 'unavailable'
  readonly uptime_s: number
  readonly version: string
}

export interface DestinationStatus {
  readonly destination: string
  readonly consecutive_failures: number
  readonly failure_sources: number
  readonly host_level_failure: boolean
  readonly down: boolean
  /** ISO time; null while up. */
  readonly down_until: string | null
  /** What an operator made of it. */
  readonly state: 'up' | 'drain' | 'down'
  readonly sessions: number
}

export interface WorkerLookup {
  readonly worker: number
  readonly destination: string
  readonly routed_to_default: boolean
  readonly cached: boolean
  readonly source: 'cache' | 'store' | 'stale'
}

export interface LookupAnswer extends Omit<WorkerLookup, 'worker'> {
  readonly normalized: string
  /** One per worker when every worker was asked, else empty. */
  readonly workers: readonly WorkerLookup[]
}

/** One instance of the fleet as this one sees it. */
export interface InstanceStatus {
  readonly instance: string
  /** `self`, `live`, or `lost`: silent without having said bye. */
  readonly state: 'self' | 'live' | 'lost'
  /** ISO time of its start. */
  readonly started: string
  readonly version: string
  readonly workers: number
  /** Digest of what must agree in a fleet, and whether it is ours. */
  readonly digest: string
  readonly digest_agrees: boolean
  /** Seconds since it was last heard; 0 for ourselves. */
  readonly last_heard_s: number
  /** Its last frame that we have seen; for ourselves the last that we have sent. */
  readonly sequence: number
  /** Our frames that it has not acknowledged; null for ourselves. */
  readonly lag: number | null
  /** How often frames of it were missed. */
  readonly gaps: number
}

/** Whoever sends frames on our channel that could not be believed: another secret, or none. */
export interface StrangersAnswer {
  readonly frames: number
  /** The names that the frames bear, some of them at most; anybody can write any. */
  readonly names: readonly string[]
  /** ISO times of the first and of the last. */
  readonly since: string
  readonly last: string
  /** What was wrong with the last. */
  readonly reason: string
}

export interface FleetAnswer {
  readonly bus: 'none' | 'up' | 'down'
  readonly instances: readonly InstanceStatus[]
  /** Null: there were none since the start. */
  readonly strangers: StrangersAnswer | null
}

export type ReloadAnswer =
  | {
      readonly ok: true
      readonly added: number
      readonly changed: number
      readonly removed: number
      readonly warnings: readonly string[]
      readonly confirmation: Confirmation
    }
  | { readonly ok: false; readonly mistakes: readonly MappingMistake[]; readonly message: string }

export type ConfigReloadAnswer =
  | {
      readonly ok: true
      /** For people: what is in force now, and what isn't. */
      readonly note: string
      readonly changed: readonly string[]
      /** Keys that differ and were left as they were. */
      readonly restart: readonly string[]
      readonly warnings: readonly string[]
      /** The workers are being replaced for it. */
      readonly rolling: boolean
      readonly confirmation: Confirmation
    }
  /** As `signalbox check` prints them; nothing has changed. */
  | { readonly ok: false; readonly mistakes: readonly string[] }

/** One step of a cutover; `lease` and `put_back` only where there is something to tell. */
export type CutoverStep = 'hold' | 'write' | 'invalidate' | 'kick' | 'release' | 'put_back' | 'lease'

export interface StepOutcome {
  readonly step: CutoverStep
  /** `unconfirmed`: it fails nothing, since it ends by itself or was only to tidy up. */
  readonly outcome: 'ok' | 'failed' | 'unconfirmed'
  /** Milliseconds. */
  readonly ms: number
  readonly reason?: string
}

interface CutoverFacts {
  /** Where the mapping pointed before; null: there was none. */
  readonly from: string | null
  readonly sessionsEnded: number
  readonly steps: readonly StepOutcome[]
  /** Milliseconds. */
  readonly ms: number
  readonly confirmation: Confirmation
  /** Logins to the destination get the temporary failure for the moment, and why. */
  readonly warning?: string
}

export type CutoverAnswer =
  | ({ readonly result: 'moved' | 'unchanged' } & CutoverFacts)
  /** Somebody else is moving it. */
  | { readonly result: 'busy'; readonly holder: { readonly id: string; readonly who: string; readonly since: number } }
  | ({
      readonly result: 'failed'
      readonly step: CutoverStep
      readonly error: SignalboxError
      /** `left`: the source holds what neither we wrote nor was there before; `failed`: nobody knows. */
      readonly putBack: 'done' | 'not needed' | 'left' | 'failed'
    } & CutoverFacts)

export interface CutoverRequest {
  readonly identifier: string
  readonly destination: string
  /** Seconds that its logins are held at most, 1 to DELAY_SECONDS. */
  readonly hold: number
  /** The operator's address. */
  readonly client: string
}

/** What happens, for those who listen. */
export interface EventOperations {
  readonly happenings: Happenings
  /** A pause of so many milliseconds, that can be given up. */
  readonly quiet: (ms: number) => { readonly over: Promise<void>; cancel(): void }
}

export interface Operations {
  /** The mappings as a whole. */
  readonly bulk: BulkOperations
  /** Live sessions, and what is done to all those of a destination. */
  readonly sessions: SessionOperations
  readonly events: EventOperations
  /** "starting" and "draining" make /readyz answer 503. */
  state(): 'starting' | 'ready' | 'draining'
  /** Aborted when the instance begins to shut down: work of unknown length is given up, and none is begun. */
  readonly draining: AbortSignal
  /** Cuts the master-user suffix, normalises, checks. Throws CLIENT_BAD_IDENTIFIER with a reason fit for a 400. */
  normalize(identifier: string): string
  /** Names of the declared destinations. */
  destinationNames(): readonly string[]
  stats(): Promise<Stats>
  /** What Prometheus reads. */
  metrics(): Promise<string>
  destinations(): Promise<readonly DestinationStatus[]>
  /** False: no such destination. */
  resetDestination(name: string): Promise<boolean>
  /** Resolves without a session, in one worker or in each. Rejects with ROUTE_UNAVAILABLE when nothing is known. */
  lookup(identifier: string, everyWorker: boolean): Promise<LookupAnswer>
  put(identifier: string, destination: string): Promise<Confirmation>
  delete(identifier: string): Promise<{ readonly removed: boolean; readonly confirmation: Confirmation }>
  reloadMappings(): Promise<ReloadAnswer>
  /** Reads the configuration again, checks it and puts it in force. Rejects with DRAINING while starting or ending. */
  reloadConfig(): Promise<ConfigReloadAnswer>
  /** Undefined: everything. */
  invalidate(identifier: string | undefined): Promise<Confirmation>
  kick(identifier: string): Promise<{ readonly kicked: number; readonly confirmation: Confirmation }>
  /**
   * Moves an account as one act (primary/cutover.ts). Rejects, with nothing changed, with the codes of a write, and with
   * BUS_PEER_LACKS.
   */
  cutover(request: CutoverRequest): Promise<CutoverAnswer>
  /** This instance and its peers. */
  fleet(): Promise<FleetAnswer>
  /** Forgets a lost peer. False: there is none of that name, or it is live. */
  forget(instance: string): Promise<boolean>
  /** Holds new logins of the account; resolves when every worker holds. */
  delay(identifier: string, seconds: number): Promise<Confirmation>
}
