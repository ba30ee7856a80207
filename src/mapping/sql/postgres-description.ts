/**
 * Parse and Describe without Bind and Execute (PostgreSQL, "Extended Query"): what a statement takes and gives, and whether
 * it is one, without a row being touched. The driver offers no such query; this is one of the kind that it lets others write.
 */
import type { Connection, Submittable } from 'pg'
import type { StatementShape } from './connection.ts'

export class PostgresDescription implements Submittable {
  /** Rejects with the server's error, or the connection's. */
  readonly shape: Promise<StatementShape>
  readonly #statement: string
  readonly #settle: PromiseWithResolvers<StatementShape>
  #parameters = 0
  #columns = 0

  constructor(statement: string) {
    this.#statement = statement
    this.#settle = Promise.withResolvers()
    this.shape = this.#settle.promise
  }

  submit(connection: Connection): void {
    // The driver has no use for this message and passes it to nobody.
    const described = (message: unknown): void => {
      this.#parameters = countIn(message, 'parameterCount')
    }
    connection.once('parameterDescription', described)
    this.shape.then(() => {}, () => connection.off('parameterDescription', described))
    connection.parse({ name: '', text: this.#statement, types: [] }, true)
    connection.describe({ type: 'S', name: '' }, true)
    connection.sync()
  }

  // The rest is what the driver calls.

  handleRowDescription(message: unknown): void {
    this.#columns = countIn(message, 'fieldCount')
  }

  handleError(error: Error): void {
    this.#settle.reject(error)
  }

  handleReadyForQuery(): void {
    this.#settle.resolve({ parameters: this.#parameters, columns: this.#columns })
  }
}

function countIn(message: unknown, name: string): number {
  const count: unknown = typeof message === 'object' && message !== null ? Reflect.get(message, name) : undefined
  if (typeof count !== 'number') throw new TypeError(`a message of PostgreSQL without ${name}`)
  return count
}
