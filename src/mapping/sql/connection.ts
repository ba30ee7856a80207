/**
 * A connection to a database as the pool and the source see it, whichever database it is. Values are always bound, as
 * text; a statement runs to its end or is cancelled at the server. An answer of the server that is an error is a
 * SqlRefusal and leaves the connection usable; any other rejection means that the connection is gone.
 */
import { MAPPING_VALUE } from '../../limits.ts'

/** What a statement takes and gives. */
export interface StatementShape {
  /** Placeholders. */
  readonly parameters: number
  /** 0: it gives no rows. */
  readonly columns: number
}

/** Columns of one row. */
export type Row = readonly unknown[]

export interface SqlConnection {
  /** Lets the server read a statement, without executing it. */
  describe(statement: string): Promise<StatementShape>
  /** All rows. */
  select(statement: string, values: readonly (string | number)[]): Promise<readonly Row[]>
  /** How many rows it touched. */
  change(statement: string, values: readonly string[]): Promise<number>
  /** `exact`: a row that it reads and then writes is refused, or waited for, when somebody else writes it meanwhile. */
  begin(exact: boolean): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
  /** Asks the server to give up what runs on this connection, as far as it can; the connection is dropped afterwards. */
  cancel(): void
  /** At once. Idempotent. */
  destroy(): void
  /** Politely. */
  close(): Promise<void>
  /** Called once, when the connection is gone by itself. */
  onLost(listener: (error: unknown) => void): void
}

/** Makes connections to one database. */
export interface SqlDatabase {
  /** For messages; no password. */
  readonly text: string
  /** Connections that are worth having; undefined: as many as are asked for. */
  readonly most?: number
  connect(): Promise<SqlConnection>
}

/** The server's answer was an error; the connection is still good. */
export class SqlRefusal extends Error {
  override readonly name = 'SqlRefusal'
  /** SQLSTATE or the driver's code. */
  readonly code: string
  /** The statement itself is wrong (its syntax, a table that isn't there, a permission that lacks): again is no better. */
  readonly wrong: boolean

  constructor(code: string, message: string, wrong: boolean) {
    super(message)
    this.code = code
    this.wrong = wrong
  }
}

/** Classes of SQLSTATE (ISO 9075-2) that blame the statement, or what is bound to it. */
const WRONG = ['07', '0A', '21', '22', '26', '3D', '3F', '42']

/** Whether an SQLSTATE blames the statement. 08P01 is PostgreSQL's word for a wrong number of values. */
export function blamesStatement(state: string): boolean {
  return state === '08P01' || WRONG.includes(state.slice(0, 2))
}

/** The words of any failure. Texts in quotes are left out: servers repeat values, which are accounts. */
export function plainWords(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.message === '') return thrown.errors.map(plainWords).join('; ')
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const code = thrown instanceof SqlRefusal ? `${thrown.code}: ` : ''
  return `${code}${message.replace(/'[^']*'/g, "'…'").slice(0, 300)}`
}

/** What a query found: text, or undefined for no row, NULL and the empty text. */
export function destinationOf(rows: readonly Row[]): string | undefined {
  const value = textOf(rows[0]?.[0])
  return value === '' ? undefined : value
}

/** A column as text; NULL is the empty text. */
export function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (Buffer.isBuffer(value)) return value.toString('utf8')
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8')
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  // Columns of a JSON type come as objects.
  return JSON.stringify(value) ?? ''
}

/** Whether a value can be the name of a destination. */
export function isName(value: string): boolean {
  return value.length * 3 <= MAPPING_VALUE || Buffer.byteLength(value) <= MAPPING_VALUE
}
