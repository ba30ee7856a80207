/**
 * Operations in memory, for tests of the management API: a map of mappings, counters, and answers that a test can set
 * (who confirms, which error is thrown). It normalises like `mapping.normalize = "lowercase"` with `%` as master-user separator.
 */
import { SignalboxError } from '../../src/errors.ts'
import type {
  Confirmation,
  DestinationStatus,
  FleetAnswer,
  InstanceStatus,
  LookupAnswer,
  Operations,
  ReloadAnswer,
  Stats,
} from '../../src/management/operations.ts'

export class MemoryOperations implements Operations {
  readonly mappings = new Map<string, string>()
  readonly names = ['old', 'new']
  /** Calls that reached us, in order, with their arguments. */
  readonly calls: (readonly unknown[])[] = []
  current: 'starting' | 'ready' | 'draining' = 'ready'
  confirmation: Confirmation = { workers: 2, workersExpected: 2, peers: [], bus: 'none' }
  kicked = 0
  /** This instance, a live and a lost peer. */
  instances: InstanceStatus[] = [instance('one', 'self'), instance('two', 'live'), instance('three', 'lost')]
  reload: ReloadAnswer | undefined
  /** Thrown by every operation that does something, when set. */
  failure: unknown
  /** Awaited by every operation that does something. */
  gate: Promise<void> = Promise.resolve()

  state(): 'starting' | 'ready' | 'draining' {
    return this.current
  }

  normalize(identifier: string): string {
    const cut = identifier.split('%')[0] ?? ''
    if (cut === '') throw new SignalboxError('CLIENT_BAD_IDENTIFIER', 'nothing is left of it once normalised')
    return cut.toLowerCase()
  }

  destinationNames(): readonly string[] {
    return this.names
  }

  async stats(): Promise<Stats> {
    await this.#called('stats')
    return {
      cache_hits: 3,
      cache_misses: 1,
      hit_rate_pct: 75,
      cache_entries: 4,
      active_connections: 5,
      stale_served: 0,
      lookup_failures: 0,
      evictions: 0,
      invalidations: 2,
      audited: 9,
      audit_stale: 0,
      workers: 2,
      instance: 'one',
      peers: ['two'],
      bus: 'up',
      watch: 'on',
      uptime_s: 12.5,
      version: '0.0.0',
    }
  }

  async metrics(): Promise<string> {
    await this.#called('metrics')
    return '# HELP signalbox_ready 1\n# TYPE signalbox_ready gauge\nsignalbox_ready 1\n'
  }

  async destinations(): Promise<readonly DestinationStatus[]> {
    await this.#called('destinations')
    return this.names.map((destination, index) => ({
      destination,
      consecutive_failures: index,
      failure_sources: index,
      host_level_failure: index > 0,
      down: index > 0,
      down_until: index > 0 ? '2026-01-01T00:00:00.000Z' : null,
      sessions: index,
    }))
  }

  async resetDestination(name: string): Promise<boolean> {
    await this.#called('resetDestination', name)
    return this.names.includes(name)
  }

  async lookup(identifier: string, everyWorker: boolean): Promise<LookupAnswer> {
    await this.#called('lookup', identifier, everyWorker)
    const mapped = this.mappings.get(identifier)
    const answer = {
      destination: mapped ?? 'old',
      routed_to_default: mapped === undefined,
      cached: false,
      source: 'store',
    } as const
    const workers = everyWorker ? [1, 2].map((worker) => ({ worker, ...answer })) : []
    return { ...answer, normalized: identifier, workers }
  }

  async put(identifier: string, destination: string): Promise<Confirmation> {
    await this.#called('put', identifier, destination)
    this.mappings.set(identifier, destination)
    return this.confirmation
  }

  async delete(identifier: string): Promise<{ removed: boolean; confirmation: Confirmation }> {
    await this.#called('delete', identifier)
    return { removed: this.mappings.delete(identifier), confirmation: this.confirmation }
  }

  async reloadMappings(): Promise<ReloadAnswer> {
    await this.#called('reloadMappings')
    return this.reload ?? { ok: true, added: 1, changed: 2, removed: 3, warnings: [], confirmation: this.confirmation }
  }

  async invalidate(identifier: string | undefined): Promise<Confirmation> {
    await this.#called('invalidate', identifier)
    return this.confirmation
  }

  async kick(identifier: string): Promise<{ kicked: number; confirmation: Confirmation }> {
    await this.#called('kick', identifier)
    return { kicked: this.kicked, confirmation: this.confirmation }
  }

  async fleet(): Promise<FleetAnswer> {
    await this.#called('fleet')
    return { bus: 'up', instances: this.instances }
  }

  async forget(name: string): Promise<boolean> {
    await this.#called('forget', name)
    const before = this.instances.length
    this.instances = this.instances.filter((known) => known.instance !== name || known.state !== 'lost')
    return this.instances.length < before
  }

  async delay(identifier: string, seconds: number): Promise<Confirmation> {
    await this.#called('delay', identifier, seconds)
    return this.confirmation
  }

  async #called(...call: readonly unknown[]): Promise<void> {
    this.calls.push(call)
    await this.gate
    if (this.failure !== undefined) throw this.failure
  }
}

/** What a fleet says of one of its instances. */
export function instance(name: string, state: InstanceStatus['state']): InstanceStatus {
  return {
    instance: name,
    state,
    started: '2026-01-01T00:00:00.000Z',
    version: '0.0.0',
    workers: 2,
    digest: 'abc',
    digest_agrees: true,
    last_heard_s: state === 'lost' ? 60 : 0,
    sequence: 17,
    lag: state === 'self' ? null : 0,
    gaps: 0,
  }
}
