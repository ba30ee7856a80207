/**
 * A database as the primary has it. It knows only the statements that the configuration gives it: `query` looks up,
 * `upsertQuery` and `deleteQuery` together make it writable, `listQuery` makes everything possible that must see all
 * mappings (export, summary, replacing imports). What it has no statement for is refused with SOURCE_READ_ONLY: guessing
 * tables from a query would be pasting SQL together. Imports are one transaction.
 */
import { parseSqlUrl } from '../../config/sql-url.ts'
import { SignalboxError } from '../../errors.ts'
import { MAPPING_BATCH } from '../../limits.ts'
import { checkEntry, onlyInStores } from '../entry.ts'
import { Fingerprints } from '../fingerprints.ts'
import type { LeaseHolder } from '../lease.ts'
import type { Exchanged, ImportOptions, ImportResult, Mapping, MappingSource, ReloadResult } from '../source.ts'
import { spool, type Spooled } from '../spool.ts'
import { summarise } from '../summary.ts'
import { Tally } from '../tally.ts'
import { destinationOf, isName, plainWords, SqlRefusal, textOf } from './connection.ts'
import { openDatabase } from './database.ts'
import { SqlLeases } from './leases.ts'
import { PostgresListener } from './listen.ts'
import { SqlLookup, type SqlLookupOptions } from './lookup.ts'
import { SqlPool, type Statements } from './pool.ts'
import { checkStatements, type ConfiguredStatements } from './statements.ts'

export interface SqlSourceOptions extends SqlLookupOptions, ConfiguredStatements {
  /** PostgreSQL channel. */
  readonly listen: string | undefined
  /** Milliseconds between two looks at the connection that listens. */
  readonly heartbeat: number
}

type Listener = Parameters<MappingSource['onChange']>[0]
type Writing = { readonly upsert: string; readonly remove: string }

/** Codes of a transaction that another one came before: it is tried again, and sees then what that has done. */
const OVERTAKEN: ReadonlySet<string> = new Set(['40001', '40P01', 'ER_LOCK_DEADLOCK', 'ER_CHECKREAD'])
const EXCHANGE_TRIES = 5

/**
 * Connects, lets the database read the statements, starts to listen. Rejects with CONFIG_INVALID when one of them is wrong,
 * with SOURCE_UNAVAILABLE or SOURCE_TIMEOUT when the database can't be asked, unless `allowUnavailable`.
 */
export async function openSqlSource(options: SqlSourceOptions): Promise<SqlSource> {
  const source = new SqlSource(options)
  await source.open()
  return source
}

export class SqlSource implements MappingSource {
  readonly kind = 'sql'
  readonly #options: SqlSourceOptions
  readonly #pool: SqlPool
  readonly #lookup: SqlLookup
  readonly #leases: SqlLeases
  readonly #listener: PostgresListener | undefined
  #onChange: Listener | undefined
  #closing: Promise<void> | undefined

  constructor(options: SqlSourceOptions) {
    this.#options = options
    const { url, ca, lookupTimeout: timeout, clock, connections, log, listen, heartbeat } = options
    const database = openDatabase({ url, ca, timeout, readOnly: !this.writable })
    // An import or export holds one for as long as it takes.
    this.#pool = new SqlPool({ database, size: Math.max(2, connections), clock, timeout })
    this.#lookup = new SqlLookup(options, this.#pool)
    this.#leases = new SqlLeases(this.#pool, parseSqlUrl(url).kind)
    if (listen === undefined) return
    const server = parseSqlUrl(url)
    if (server.kind !== 'postgres') throw new SignalboxError('CONFIG_INVALID', 'mapping.sql.listen: only PostgreSQL has channels')
    const onChange: Listener = (change) => this.#onChange?.(change)
    this.#listener = new PostgresListener({ server: { ...server, ca }, channel: listen, clock, log, timeout, heartbeat, onChange })
  }

  async open(): Promise<void> {
    try {
      await checkStatements(this.#options, (work) => this.#pool.run('check', true, work))
    } catch (error) {
      const away = error instanceof SignalboxError && error.code !== 'CONFIG_INVALID'
      if (!away || this.#options.allowUnavailable !== true) {
        await this.#lookup.close()
        throw error
      }
    }
    await this.#listener?.open()
  }

  get writable(): boolean {
    return this.#options.upsertQuery !== undefined && this.#options.deleteQuery !== undefined
  }

  /** Whether changes that others make are seen at once. */
  get watch(): 'off' | 'on' | 'unavailable' {
    return this.#listener?.state ?? 'off'
  }

  lookup(identifier: string): Promise<string | undefined> {
    return this.#lookup.lookup(identifier)
  }

  async put(identifier: string, destination: string): Promise<void> {
    const { upsert } = this.#writing()
    checkEntry(identifier, destination)
    await this.#refusing('put', this.#pool.run('put', false, (connection) => connection.change(upsert, [identifier, destination])))
  }

  async delete(identifier: string): Promise<boolean> {
    const { remove } = this.#writing()
    const rows = await this.#refusing('delete', this.#pool.run('delete', false, (connection) => connection.change(remove, [identifier])))
    return rows > 0
  }

  async exchange(identifier: string, { from, to }: Exchanged): Promise<boolean> {
    const { upsert, remove } = this.#writing()
    if (to !== undefined) checkEntry(identifier, to)
    const work = async ({ select, change }: Statements): Promise<boolean> => {
      if (destinationOf(await select(this.#options.query, [identifier])) !== from) return false
      await (to === undefined ? change(remove, [identifier]) : change(upsert, [identifier, to]))
      return true
    }
    for (let triesLeft = EXCHANGE_TRIES; ; triesLeft--) {
      try {
        return await this.#pool.transaction('exchange', work, true)
      } catch (error) {
        if (error instanceof SqlRefusal && OVERTAKEN.has(error.code) && triesLeft > 1) continue
        return this.#refusing('exchange', Promise.reject(error))
      }
    }
  }

  lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined> {
    this.#writing()
    return this.#leases.lease(identifier, holder, ms)
  }

  endLease(identifier: string, id: string): Promise<void> {
    return this.#leases.endLease(identifier, id)
  }

  /** Nothing is kept here that could be re-read. */
  reload(): Promise<ReloadResult> {
    return Promise.resolve({ added: 0, changed: 0, removed: 0, invalidate: { all: false, identifiers: [] }, warnings: [] })
  }

  /** In the order of `listQuery`. Rejects with SOURCE_READ_ONLY without one. Each page is a statement of its own. */
  async *export(options: { prefix?: string; destination?: string; after?: string; limit?: number } = {}): AsyncGenerator<Mapping> {
    const { prefix = '', destination, after = '', limit = Infinity } = options
    const list = this.#listing()
    let given = 0
    if (limit <= 0) return
    const page = (from: string): Promise<Mapping[]> => {
      return this.#refusing('export', this.#pool.run('export', true, (connection) => readPage(connection, list, from)))
    }
    for await (const mapping of eachPage(page, after)) {
      if (!mapping.identifier.startsWith(prefix)) continue
      if (destination !== undefined && mapping.destination !== destination) continue
      yield mapping
      if (++given >= limit) return
    }
  }

  async import(
    mappings: AsyncIterable<Mapping> | Iterable<Mapping>,
    mode: 'merge' | 'replace',
    { dryRun = false, begun, progress }: ImportOptions = {},
  ): Promise<ImportResult> {
    const writing = this.#writing()
    const list = mode === 'replace' ? this.#listing() : undefined
    await using spooled = await spool(mappings)
    let done = 0
    const through = (batch: readonly Mapping[]): void => progress?.((done += batch.length))
    if (dryRun) return await this.#refusing('export', this.#compare(spooled, list, through))
    const work = this.#pool.transaction('import', async (statements) => {
      const tally = new Tally()
      const imported = new Fingerprints()
      for await (const batch of spooled.batches()) {
        for (const { identifier, destination } of batch) {
          const before = destinationOf(await statements.select(this.#options.query, [identifier]))
          if (before !== destination) await statements.change(writing.upsert, [identifier, destination])
          tally.count(identifier, before, destination)
          if (list !== undefined) imported.add(identifier)
        }
        through(batch)
      }
      if (list !== undefined) await removeOthers(statements, { list, remove: writing.remove, imported, tally })
      begun?.()
      return tally.result()
    })
    // Awaited here: what is spooled goes when this block ends.
    return await this.#refusing('import', work)
  }

  /** What an import would do; statement by statement, as a transaction would hold up everybody who writes. */
  async #compare(spooled: Spooled, list: string | undefined, through: (batch: readonly Mapping[]) => void): Promise<ImportResult> {
    const { query } = this.#options
    const tally = new Tally()
    const imported = new Fingerprints()
    const select: Statements['select'] = (statement, values) => {
      return this.#pool.run('import', true, (connection) => connection.select(statement, values))
    }
    for await (const batch of spooled.batches()) {
      for (const { identifier, destination } of batch) {
        if (imported.add(identifier)) tally.count(identifier, destinationOf(await select(query, [identifier])), destination)
      }
      through(batch)
    }
    if (list === undefined) return tally.result()
    for await (const { identifier, destination } of eachPage((after) => readPage({ select }, list, after), '')) {
      if (!imported.has(identifier)) tally.count(identifier, destination, undefined)
    }
    return tally.result()
  }

  async summary(): Promise<ReadonlyMap<string, number>> {
    return summarise(this.export())
  }

  onChange(listener: Listener): void {
    this.#onChange = listener
  }

  /** Lets what was accepted finish. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= Promise.all([this.#listener?.close(), this.#lookup.close()]).then(() => {})
    return this.#closing
  }

  #writing(): Writing {
    const { upsertQuery: upsert, deleteQuery: remove } = this.#options
    if (upsert !== undefined && remove !== undefined) return { upsert, remove }
    throw new SignalboxError('SOURCE_READ_ONLY', 'the SQL source is read-only: upsert_query and delete_query make it writable')
  }

  #listing(): string {
    const { listQuery } = this.#options
    if (listQuery !== undefined) return listQuery
    throw new SignalboxError('SOURCE_READ_ONLY', 'the SQL source can look mappings up but not list them: mapping.sql.list_query makes that possible')
  }

  /** Where something was to be written, the server's no is SOURCE_WRITE. */
  async #refusing<T>(doing: string, work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof SqlRefusal)) throw error
      throw new SignalboxError(doing === 'export' ? 'SOURCE_UNAVAILABLE' : 'SOURCE_WRITE', `SQL: ${doing}: ${plainWords(error)}`)
    }
  }
}

async function readPage(statements: Pick<Statements, 'select'>, list: string, after: string): Promise<Mapping[]> {
  const rows = await statements.select(list, [after, MAPPING_BATCH])
  return rows.map(([identifier, destination]) => ({ identifier: textOf(identifier), destination: textOf(destination) }))
}

/** Everything behind `after`, page by page. A list that doesn't get on is the database's mistake, and would never end. */
async function* eachPage(page: (after: string) => Promise<Mapping[]>, after: string): AsyncGenerator<Mapping> {
  for (let from = after; ; ) {
    const mappings = await page(from)
    for (const mapping of mappings) {
      if (mapping.destination !== '' && isName(mapping.destination)) yield mapping
    }
    const last = mappings.at(-1)?.identifier
    if (last === undefined) return
    if (last === from) throw new SignalboxError('SOURCE_INVALID', 'SQL: list_query repeats itself: it must give what is behind the identifier')
    from = last
  }
}

async function removeOthers(
  statements: Statements,
  { list, remove, imported, tally }: { list: string; remove: string; imported: Fingerprints; tally: Tally },
): Promise<void> {
  for await (const { identifier, destination } of eachPage((after) => readPage(statements, list, after), '')) {
    if (imported.has(identifier) || onlyInStores(identifier)) continue
    if ((await statements.change(remove, [identifier])) > 0) tally.count(identifier, destination, undefined)
  }
}
