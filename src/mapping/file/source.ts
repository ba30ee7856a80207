/**
 * The mapping file as a source. Owns the table, the file and the threads that read and write it; lookups never touch
 * the disk, and a change is seen by them only once the file that holds it has taken the old one's place.
 *
 * The table is not built anew for a change: committed changes lie on top of it (Current), and every rewrite merges
 * both. When there are many, or the table was not in order, a new one is read in the background from what was just
 * written, while writes go on. So a single change to ten million mappings costs a copy of the file, not a load.
 */
import { realpath, rm } from 'node:fs/promises'
import { asSignalboxError, SignalboxError } from '../../errors.ts'
import type { Clock } from '../../clock.ts'
import type { FileMappingConfig } from '../../config/config.ts'
import { MAPPING_OVERLAY, SHARED_TRIES } from '../../limits.ts'
import { MemoryLeases } from '../lease.ts'
import type { LeaseHolder, Leases } from '../lease.ts'
import type {
  Changed,
  Exchanged,
  ImportOptions,
  ImportResult,
  Mapping,
  MappingSource,
  ReloadResult,
  RulesReady,
  SourceRules,
} from '../source.ts'
import { decodeChanges } from './changes.ts'
import { Current } from './current.ts'
import { invalidation } from './difference.ts'
import { exportMappings } from './export.ts'
import type { ExportOptions } from './export.ts'
import { fingerprintAt, openedFingerprint } from './fingerprint.ts'
import type { Fingerprint } from './fingerprint.ts'
import { Jobs } from './jobs.ts'
import { FileLeases } from './leases.ts'
import type { Loaded, LoadTask } from './load.ts'
import { FileLock } from './lock.ts'
import type { Held } from './lock.ts'
import type { Replacement } from './replace.ts'
import type { CompareTask, Imported } from './rewrite.ts'
import { spool } from './spool.ts'
import { Stage } from './stage.ts'
import type { Changes, Counts } from './stage.ts'
import { storable } from './storable.ts'
import type { Reloaded } from './tasks.ts'
import { removeLeftovers, temporaryFor } from './temporary.ts'
import { Threads } from './threads.ts'
import { FileWatcher } from './watcher.ts'

export interface FileSourceOptions extends SourceRules {
  readonly config: FileMappingConfig
  readonly clock: Clock
  /** One sentence for the log, without account names. */
  readonly warn: (message: string) => void
}

/**
 * Reads the file. Rejects with SOURCE_UNAVAILABLE (missing, unreadable), SOURCE_INVALID (mistakes, see mistakesOf; not
 * a regular file; too large).
 */
export async function openFileSource(options: FileSourceOptions): Promise<FileSource> {
  const threads = new Threads(options.warn)
  try {
    const loaded = await threads.run('load', loadTask(options.config.path, options))
    const path = await realpath(options.config.path)
    await removeLeftovers(path)
    if (options.config.shared) {
      const leases = new FileLeases(async () => path, options.clock)
      // Another start will do as well: nobody waits for it.
      await leases.sweep().catch((error: unknown) => options.warn(`ended leases stay beside ${path}: ${asSignalboxError(error, 'SOURCE_WRITE').message}`))
    }
    const source = new FileSource(options, threads, loaded)
    await source.begin()
    return source
  } catch (error) {
    await threads.close()
    throw asSignalboxError(error, 'SOURCE_UNAVAILABLE')
  }
}

function loadTask(path: string, { normalize, destinations }: SourceRules): LoadTask {
  return { path, normalize, destinations }
}

function countsOf({ difference, count }: Omit<Imported, 'loaded'>): ImportResult {
  const { added, changed, removed } = difference
  return { added, changed, removed, unchanged: count - added - changed, invalidate: invalidation(difference) }
}

interface Write {
  readonly changes: Changes
  /** Only if these are the destinations at that moment. */
  readonly expected?: Changes
  readonly resolve: (counts: Counts) => void
  readonly reject: (error: SignalboxError) => void
}

export class FileSource implements MappingSource {
  readonly kind = 'file'
  readonly writable = true
  /** Times that the file was rewritten by us, and read again because it was asked for or somebody else changed it. */
  rewrites = 0
  reloads = 0
  /** For tests that end one. */
  readonly threads: Threads

  readonly #options: FileSourceOptions
  #rules: SourceRules
  #destinations: ReadonlySet<string>
  readonly #leases: Leases
  /** Between instances that share the file. */
  readonly #lock: FileLock | undefined
  /** A write waits for the lock; what is read again meanwhile is awaited before it begins. */
  #awaitingLock = false
  #readAside: Promise<unknown> = Promise.resolve()
  readonly #jobs = new Jobs<Write>((writes) => this.#commitGroup(writes))
  readonly #current: Current
  #fingerprint: Fingerprint
  /** Comments that the next write loses. */
  #comments: number
  #commit = 0
  /** The commit that left the file in a state, for states since the background load began; undefined: none runs. */
  #states: Map<Fingerprint, number> | undefined
  #background: Promise<void> | undefined
  #ordering: Promise<void> | undefined
  #watcher: FileWatcher | undefined
  #listener: Parameters<MappingSource['onChange']>[0] | undefined
  #closing: Promise<void> | undefined

  constructor(options: FileSourceOptions, threads: Threads, loaded: Loaded) {
    this.#options = options
    const { normalize, destinations } = options
    this.#rules = { normalize, destinations }
    this.#destinations = new Set(destinations)
    this.threads = threads
    // A file of one instance has one writer, who needs to tell nobody.
    this.#leases = options.config.shared ? new FileLeases(() => this.#target(), options.clock) : new MemoryLeases(options.clock)
    this.#lock = options.config.shared ? new FileLock(() => this.#target(), options.clock) : undefined
    this.#current = new Current(loaded.table)
    this.#fingerprint = loaded.fingerprint
    this.#comments = loaded.comments
    for (const warning of loaded.warnings) options.warn(`${options.config.path}: ${warning}`)
  }

  /** Called by openFileSource. */
  async begin(): Promise<void> {
    // A failure shows at the first write or export, which need the order; lookups don't.
    if (!this.#current.table.ordered) this.#order().catch((error: unknown) => this.#warnOf('not put in order', error))
    if (!this.#options.config.watch) return
    const { config, clock, warn } = this.#options
    this.#watcher = new FileWatcher({ path: config.path, clock, warn, onMoved: () => this.#moved() })
    await this.#watcher.start(this.#fingerprint)
  }

  onChange(listener: Parameters<MappingSource['onChange']>[0]): void {
    this.#listener = listener
  }

  /** Committed changes that lie on top of the table. */
  get overlaid(): number {
    return this.#current.overlaid
  }

  /** Like lookup, without a promise. */
  find(identifier: string): string | undefined {
    return this.#current.find(identifier)
  }

  async lookup(identifier: string): Promise<string | undefined> {
    this.#refuseClosed()
    return this.#current.find(identifier)
  }

  async put(identifier: string, destination: string): Promise<void> {
    if (!this.#destinations.has(destination)) {
      throw new SignalboxError('SOURCE_INVALID', `destination ${JSON.stringify(destination)} is not declared`)
    }
    await this.#write(new Map([[storable(identifier, this.#rules.normalize), destination]]))
  }

  async delete(identifier: string): Promise<boolean> {
    const { removed } = await this.#write(new Map([[storable(identifier, this.#rules.normalize), undefined]]))
    return removed > 0
  }

  async exchange(identifier: string, { from, to }: Exchanged): Promise<boolean> {
    if (to !== undefined && !this.#destinations.has(to)) {
      throw new SignalboxError('SOURCE_INVALID', `destination ${JSON.stringify(to)} is not declared`)
    }
    const name = storable(identifier, this.#rules.normalize)
    const { refused } = await this.#write(new Map([[name, to]]), new Map([[name, from]]))
    return refused !== true
  }

  async lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    this.#refuseClosed()
    return this.#leases.lease(identifier, holder, ms)
  }

  endLease(identifier: string, id: string): Promise<void> {
    return this.#leases.endLease(identifier, id)
  }

  async summary(): Promise<ReadonlyMap<string, number>> {
    this.#refuseClosed()
    return this.#current.summary()
  }

  async reload(): Promise<ReloadResult> {
    this.#refuseClosed()
    // Peers have us read again what they wrote, and should not wait for a third one's import to let go of the lock.
    if (this.#awaitingLock) return this.#reloadAside()
    return this.#jobs.exclusive(() => this.#reload())
  }

  async underRules(rules: SourceRules, act: (ready: RulesReady) => Promise<void>): Promise<void> {
    this.#refuseClosed()
    await this.#jobs.exclusive(async () => {
      const { loaded, difference } = await this.#reread(rules)
      await act({
        warnings: loaded.warnings,
        use: () => {
          this.#rules = rules
          this.#destinations = new Set(rules.destinations)
          this.#swap(loaded)
          this.reloads++
          return invalidation(difference)
        },
      })
    })
  }

  async import(
    mappings: AsyncIterable<Mapping> | Iterable<Mapping>,
    mode: 'merge' | 'replace',
    { dryRun = false }: ImportOptions = {},
  ): Promise<ImportResult> {
    this.#refuseClosed()
    const temporary = temporaryFor(await this.#target())
    const { normalize } = this.#rules
    const keepFew = mode === 'merge'
    const spooled = await spool(mappings, { temporary, normalize, destinations: this.#destinations, keepFew })
    // What would be refused is refused. Others' changes of a shared file would be taken over.
    const wouldBeRefused = dryRun && this.#lock === undefined
    if ('few' in spooled) {
      if (wouldBeRefused) await this.#replacement(undefined)
      const { identifiers, ...counts } = dryRun ? new Stage(this.#current).add(spooled.few) : await this.#write(spooled.few)
      return { ...counts, invalidate: { all: false, identifiers } }
    }
    try {
      this.#refuseClosed()
      if (wouldBeRefused) await this.#replacement(undefined)
      if (dryRun) return await this.#compareAll(spooled.path, mode)
      return await this.#jobs.exclusive(() => this.#alone((held) => this.#importAll(spooled.path, mode, held)))
    } finally {
      await rm(spooled.path, { force: true })
    }
  }

  async *export(options: ExportOptions = {}): AsyncGenerator<Mapping> {
    this.#refuseClosed()
    await this.#order()
    yield* exportMappings(this.#current.table, decodeChanges(this.#current.changes()), options)
  }

  /** Lets what has been accepted finish, then ends watcher and threads. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Resolves when no write, reload or work in the background is under way. */
  async settled(): Promise<void> {
    await this.#jobs.idle()
    await Promise.allSettled([this.#ordering, this.#background])
  }

  async #close(): Promise<void> {
    this.#watcher?.close()
    await this.settled()
    await this.threads.close()
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw new SignalboxError('SOURCE_UNAVAILABLE', 'the mapping source is closed')
  }

  #write(changes: Changes, expected?: Changes): Promise<Counts> {
    this.#refuseClosed()
    const { promise, resolve, reject } = Promise.withResolvers<Counts>()
    this.#jobs.write({ changes, resolve, reject, ...(expected === undefined ? {} : { expected }) })
    return promise
  }

  // Group commit

  async #commitGroup(writes: readonly Write[]): Promise<void> {
    try {
      const done = await this.#alone(async (held) => {
        const stage = new Stage(this.#current)
        const answers = writes.filter((write) => this.#mayStill(write)).map(({ changes, expected, resolve }) => {
          const counts = stage.add(changes, expected)
          return () => resolve(counts)
        })
        try {
          await this.#commitStaged(stage.effective(), held)
        } catch (error) {
          throw await this.#afterFailure(error)
        }
        return answers
      })
      for (const resolve of done) resolve()
    } catch (thrown) {
      const error = asSignalboxError(thrown, 'SOURCE_WRITE')
      for (const { reject } of writes) reject(error)
    }
  }

  /** A destination may have gone while the write waited: what the file then said would be a mistake. */
  #mayStill({ changes, reject }: Write): boolean {
    for (const destination of changes.values()) {
      if (destination === undefined || this.#destinations.has(destination)) continue
      reject(new SignalboxError('SOURCE_INVALID', `destination ${JSON.stringify(destination)} is not declared`))
      return false
    }
    return true
  }

  /**
   * Has `write` done while no other instance writes. Where the file is shared, what others have written is taken over first, and
   * again when somebody who knows no lock comes between.
   */
  async #alone<Result>(write: (held: Held | undefined) => Promise<Result>): Promise<Result> {
    const lock = this.#lock
    if (lock === undefined) return write(undefined)
    this.#awaitingLock = true
    try {
      return await lock.hold(async (held) => {
        this.#awaitingLock = false
        await this.#readAside
        for (let triesLeft = SHARED_TRIES; ; triesLeft--) {
          await this.#catchUp()
          try {
            return await write(held)
          } catch (error) {
            if (!(error instanceof SignalboxError) || error.code !== 'SOURCE_CONFLICT' || triesLeft <= 1) throw error
          }
        }
      })
    } finally {
      this.#awaitingLock = false
    }
  }

  /** Reads what others have written, and reports it. Rejects with SOURCE_CONFLICT when it can't be read. */
  async #catchUp(): Promise<void> {
    const path = await this.#target()
    if ((await openedFingerprint(path)) === this.#fingerprint) return
    try {
      const { added, changed, removed, invalidate } = await this.#reload()
      if (added + changed + removed > 0) this.#report(invalidate)
    } catch (cause) {
      const { message } = asSignalboxError(cause)
      throw new SignalboxError('SOURCE_CONFLICT', `changed on disk since it was read, and can't be read again: ${message}`, { cause })
    }
  }

  #reloadAside(): Promise<ReloadResult> {
    const reload = this.#readAside.then(() => this.#reload())
    this.#readAside = reload.catch(() => undefined)
    return reload
  }

  async #commitStaged(staged: Changes, held: Held | undefined): Promise<void> {
    const replacement = await this.#replacement(held)
    if (staged.size === 0) return
    await this.#order()
    const table = this.#current.table.data
    const fingerprint = await this.threads
      .run('rewrite', { replacement, table, changes: this.#current.changes(staged) })
      .catch((error: unknown) => this.#cleanUp(replacement, error))
    this.rewrites++
    this.#current.apply(staged, ++this.#commit)
    this.#written(fingerprint)
    if (this.#current.overlaid > MAPPING_OVERLAY || !this.#current.table.data.ascending) this.#rebuild()
  }

  /** The file itself, symbolic links resolved. */
  async #target(): Promise<string> {
    const { path } = this.#options.config
    try {
      return await realpath(path)
    } catch (cause) {
      throw new SignalboxError('SOURCE_CONFLICT', `${path}: gone or out of reach since it was read`, { cause })
    }
  }

  /** Rejects with SOURCE_CONFLICT when somebody else has changed the file. */
  async #replacement(held: Held | undefined): Promise<Replacement> {
    const path = await this.#target()
    if ((await openedFingerprint(path)) !== this.#fingerprint) {
      throw new SignalboxError('SOURCE_CONFLICT', `${path}: changed on disk since it was read; reload it first`)
    }
    return { path, temporary: temporaryFor(path), expected: this.#fingerprint, ...(held === undefined ? {} : { held }) }
  }

  #written(fingerprint: Fingerprint): void {
    this.#fingerprint = fingerprint
    this.#states?.set(fingerprint, this.#commit)
    if (this.#comments === 0) return
    this.#options.warn(`${this.#options.config.path}: rewritten by an API write; its comments are lost`)
    this.#comments = 0
  }

  /** A thread that died has not cleaned up behind itself. */
  async #cleanUp({ temporary }: Replacement, error: unknown): Promise<never> {
    await rm(temporary, { force: true })
    throw error
  }

  /**
   * A rewrite that failed has changed nothing, unless its thread died, or the directory could not be synced, between
   * the rename and the answer. Then the file says what holds: it is read again and the differences are reported.
   */
  async #afterFailure(thrown: unknown): Promise<SignalboxError> {
    const error = asSignalboxError(thrown, 'SOURCE_WRITE')
    if (error.code === 'SOURCE_CONFLICT') return error
    const cause = { cause: error }
    try {
      if ((await fingerprintAt(await this.#target())) === this.#fingerprint) {
        if (error.code === 'SOURCE_WRITE' || error.code === 'SOURCE_INVALID') return error
        return new SignalboxError('SOURCE_WRITE', `not written, nothing has changed: ${error.message}`, cause)
      }
      const { invalidate } = await this.#reload()
      this.#report(invalidate)
      return new SignalboxError('SOURCE_WRITE', `may have been written; the file was read again: ${error.message}`, cause)
    } catch (second) {
      this.#warnOf('not read again after a failed write', second)
      return new SignalboxError('SOURCE_WRITE', `may have been written: ${error.message}`, cause)
    }
  }

  // Reload and import

  /** Reads the file by these rules, and says how that differs from what is in force. */
  async #reread(rules: SourceRules): Promise<Reloaded> {
    await this.#order()
    return this.threads.run('reload', {
      load: loadTask(this.#options.config.path, rules),
      table: this.#current.table.data,
      changes: this.#current.changes(),
    })
  }

  async #reload(): Promise<ReloadResult> {
    const { loaded, difference } = await this.#reread(this.#rules)
    this.reloads++
    this.#swap(loaded)
    const { added, changed, removed } = difference
    return { added, changed, removed, invalidate: invalidation(difference), warnings: loaded.warnings }
  }

  async #compareAll(path: string, mode: 'merge' | 'replace'): Promise<ImportResult> {
    await this.#order()
    return countsOf(await this.threads.run('compare', this.#against(path, mode)))
  }

  /** What is imported, and what there is. */
  #against(path: string, mode: 'merge' | 'replace'): CompareTask {
    const { data: table } = this.#current.table
    return { spool: path, mode, table, changes: this.#current.changes(), load: this.#loadTask }
  }

  async #importAll(path: string, mode: 'merge' | 'replace', held: Held | undefined): Promise<ImportResult> {
    const replacement = await this.#replacement(held)
    await this.#order()
    const task = { replacement, ...this.#against(path, mode) }
    try {
      const { loaded, difference, count } = await this.threads
        .run('import', task)
        .catch((error: unknown) => this.#cleanUp(replacement, error))
      this.rewrites++
      const comments = this.#comments
      this.#swap(loaded)
      this.#comments = comments
      this.#written(loaded.fingerprint)
      return countsOf({ difference, count })
    } catch (error) {
      throw await this.#afterFailure(error)
    }
  }

  /** Another state of the file takes over; a table that was being built of an older one is of no use any more. */
  #swap(loaded: Loaded): void {
    this.#current.replace(loaded.table)
    this.#fingerprint = loaded.fingerprint
    this.#comments = loaded.comments
    this.#states = undefined
  }

  get #loadTask(): LoadTask {
    return loadTask(this.#options.config.path, this.#rules)
  }

  // In the background

  /** Resolves when the table's order is known. */
  async #order(): Promise<void> {
    while (!this.#current.table.ordered) {
      this.#ordering ??= this.#orderTable(this.#current.table.data).finally(() => (this.#ordering = undefined))
      await this.#ordering
    }
  }

  async #orderTable(table: Loaded['table']): Promise<void> {
    const ordered = await this.threads.run('order', table)
    if (this.#current.table.data === table) this.#current.ordered(ordered)
  }

  /** Builds a table of the file as it was just written, while writes go on. */
  #rebuild(): void {
    if (this.#states !== undefined || this.#closing !== undefined) return
    const states = new Map([[this.#fingerprint, this.#commit]])
    this.#states = states
    this.#background = this.#loadBehind(states)
      .catch((error: unknown) => this.#warnOf('not read back', error))
      .finally(() => {
        if (this.#states === states) this.#states = undefined
      })
  }

  async #loadBehind(states: Map<Fingerprint, number>): Promise<void> {
    const loaded = await this.threads.run('load', this.#loadTask)
    const commit = states.get(loaded.fingerprint)
    // Somebody else changed the file, or a reload took over: what was read here is not what is in force.
    if (commit === undefined || this.#states !== states || !loaded.table.ascending) return
    this.#current.rebase(loaded.table, commit)
  }

  /** The watcher has seen another state; whether it is our own doing is known once all writes before are through. */
  #moved(): void {
    if (this.#closing !== undefined) return
    const reload = this.#jobs.exclusive(async () => {
      if ((await fingerprintAt(this.#options.config.path)) === this.#fingerprint) return
      const { added, changed, removed, invalidate, warnings } = await this.#reload()
      const { path } = this.#options.config
      for (const warning of warnings) this.#options.warn(`${path}: ${warning}`)
      if (added + changed + removed > 0) this.#report(invalidate)
    })
    reload.catch((error: unknown) => this.#warnOf('changed on disk but not taken over', error))
  }

  #report(change: Changed): void {
    this.#listener?.(change)
  }

  #warnOf(what: string, error: unknown): void {
    this.#options.warn(`${this.#options.config.path}: ${what}: ${asSignalboxError(error).message}`)
  }
}
