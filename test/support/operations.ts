/**
 * Operations in memory, for tests of the management API: a map of mappings, counters, and answers that a test can set
 * (who confirms, which error is thrown). It normalises like `mapping.normalize = "lowercase"` with `%` as master-user separator.
 */
import { SignalboxError } from '../../src/errors.ts'
import type { BulkImportOptions, BulkImportResult, BulkOperations, ListOptions } from '../../src/management/bulk-operations.ts'
import { compareBytes } from '../../src/mapping/page.ts'
import type { Mapping } from '../../src/mapping/source.ts'
import { parseMappings } from '../../src/mapping/tsv.ts'
import type { TsvCount } from '../../src/mapping/tsv.ts'
import { Happenings } from '../../src/observe/happenings.ts'
import type { SessionOperations } from '../../src/management/session-operations.ts'
import type {
  Confirmation,
  ConfigReloadAnswer,
  CutoverAnswer,
  CutoverRequest,
  DestinationStatus,
  EventOperations,
  FleetAnswer,
  InstanceStatus,
  LookupAnswer,
  Operations,
  ReloadAnswer,
  Stats,
  StrangersAnswer,
} from '../../src/management/operations.ts'

export class MemoryOperations implements Operations {
  readonly bulk: BulkOperations = {
    source: 'file',
    list: (options) => this.#list(options),
    summary: async () => {
      await this.#called('summary')
      const counts = new Map<string, number>()
      for (const destination of this.mappings.values()) counts.set(destination, (counts.get(destination) ?? 0) + 1)
      return counts
    },
    import: (body, options) => this.#import(body, options),
  }
  readonly mappings = new Map<string, string>()
  readonly names = ['old', 'new']
  /** Calls that reached us, in order, with their arguments. */
  readonly calls: (readonly unknown[])[] = []
  current: 'starting' | 'ready' | 'draining' = 'ready'
  ending = new AbortController()

  get draining(): AbortSignal {
    return this.ending.signal
  }

  confirmation: Confirmation = { workers: 2, workersExpected: 2, peers: [], bus: 'none' }
  kicked = 0
  /** Happenings, and pauses that end when a test says so: never. */
  readonly events: EventOperations = { happenings: new Happenings(() => {}, 3), quiet: (ms) => this.quiet(ms) }
  quiet: EventOperations['quiet'] = () => ({ over: new Promise(() => {}), cancel: () => {} })
  /** Given by operators. */
  readonly states = new Map<string, 'up' | 'drain' | 'down'>()
  readonly sessions: SessionOperations = {
    list: async (filter, limit) => {
      await this.#called('sessions.list', filter, limit)
      const session = {
        account: 'al*0123456789ab',
        protocol: 'imap',
        destination: 'old',
        client: '192.0.2.7',
        since: '2026-01-01T00:00:00.000Z',
        bytes_in: 1,
        bytes_out: 2,
        instance: 'one',
        worker: 1,
      }
      return { sessions: [session, { ...session, account: null }].slice(0, limit), total: 2, unanswered: ['two'] }
    },
    summary: async () => {
      await this.#called('sessions.summary')
      const count = { instance: 'one', protocol: 'imap', destination: 'old', sessions: 2, bytes_in: 2, bytes_out: 4 }
      return { total: 2, counts: [count], unanswered: [] }
    },
    drain: async (destination, over) => {
      await this.#called('sessions.drain', destination, over)
      return { sessions: 2, confirmation: this.confirmation }
    },
    setState: async (destination, state, over) => {
      await this.#called('sessions.setState', destination, state, over)
      if (!this.names.includes(destination)) return undefined
      this.states.set(destination, state)
      return { sessions: state === 'drain' ? 2 : 0, confirmation: this.confirmation }
    },
  }
  /** This instance, a live and a lost peer. */
  strangers: StrangersAnswer | null = null
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
      bus_invalid_frames: 0,
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
      state: this.states.get(destination) ?? 'up',
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

  /** What a reload of the configuration answers. */
  configReload: ConfigReloadAnswer | undefined

  async reloadConfig(): Promise<ConfigReloadAnswer> {
    await this.#called('reloadConfig')
    const nothing = { changed: [], restart: [], warnings: [], rolling: false }
    return this.configReload ?? { ok: true, note: 'Nothing has changed.', ...nothing, confirmation: this.confirmation }
  }

  async invalidate(identifier: string | undefined): Promise<Confirmation> {
    await this.#called('invalidate', identifier)
    return this.confirmation
  }

  async kick(identifier: string): Promise<{ kicked: number; confirmation: Confirmation }> {
    await this.#called('kick', identifier)
    return { kicked: this.kicked, confirmation: this.confirmation }
  }

  /** What a cutover answers; undefined: it moves the account. */
  moves: ((request: CutoverRequest) => CutoverAnswer | undefined) | undefined

  async cutover(request: CutoverRequest): Promise<CutoverAnswer> {
    await this.#called('cutover', request)
    const { identifier, destination } = request
    const special = this.moves?.(request)
    if (special !== undefined) return special
    const from = this.mappings.get(identifier) ?? null
    this.mappings.set(identifier, destination)
    return {
      result: from === destination ? 'unchanged' : 'moved',
      from,
      sessionsEnded: this.kicked,
      steps: [{ step: 'kick', outcome: 'ok', ms: 1 }],
      ms: 2,
      confirmation: this.confirmation,
    }
  }

  async fleet(): Promise<FleetAnswer> {
    await this.#called('fleet')
    return { bus: 'up', instances: this.instances, strangers: this.strangers }
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

  async *#list({ prefix = '', destination, after = '', limit = Infinity }: ListOptions): AsyncGenerator<Mapping> {
    await this.#called('list')
    const all = [...this.mappings].map(([identifier, to]) => ({ identifier, destination: to })).sort((a, b) => compareBytes(a.identifier, b.identifier))
    const found = all.filter((one) => one.identifier.startsWith(prefix) && compareBytes(one.identifier, after) > 0 && (destination ?? one.destination) === one.destination)
    yield* found.slice(0, limit)
  }

  async #import(body: AsyncIterable<Uint8Array>, { mode, dryRun, checked }: BulkImportOptions): Promise<BulkImportResult> {
    const count: TsvCount = { lines: 0, mappings: 0, bytes: 0, furtherFields: 0 }
    const given = new Map<string, string>()
    for await (const { identifier, destination } of parseMappings(body, { normalize: 'lowercase', destinations: new Set(this.names) }, count)) {
      given.set(identifier, destination)
    }
    // Like a source that fails before it has begun: nothing is checked that can't be written.
    if (this.failure !== undefined) throw this.failure
    checked(count)
    await this.#called('import', mode, dryRun)
    const before = new Map(this.mappings)
    const removed = mode === 'replace' ? [...before.keys()].filter((name) => !given.has(name)) : []
    const counts = { added: 0, changed: 0, removed: removed.length, unchanged: 0 }
    for (const [name, to] of given) counts[before.get(name) === undefined ? 'added' : before.get(name) === to ? 'unchanged' : 'changed']++
    if (dryRun) return counts
    for (const name of removed) this.mappings.delete(name)
    for (const [name, to] of given) this.mappings.set(name, to)
    return { ...counts, confirmation: this.confirmation }
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
