/**
 * All mappings of a Redis: SCAN over the prefix, on every primary, a batch at a time. What SCAN promises holds here too:
 * every key that is there from beginning to end comes, one may come twice while the server's table is resized, and
 * there is no order. Keys that no lookup could ask for, keys of other types and values that are no names are left out.
 * Values are read by GETRANGE, so that a giant one costs nothing.
 */
import { Cluster, type Redis } from 'ioredis'
import type { Clock } from '../../clock.ts'
import { MAPPING_BATCH, MAPPING_VALUE } from '../../limits.ts'
import { within } from '../deadline.ts'
import type { Mapping } from '../source.ts'
import type { RedisConnection } from './connection.ts'
import { isReplyError, redisFailure, replyCode } from './failure.ts'

/** Keys of leases (mapping/lease.ts); never mappings, whatever the prefix of those is. */
export const LEASE_PREFIX = 'signalbox:lease:'

export interface KeyspaceOptions {
  /** A pipelining one: a batch is written at once. */
  readonly connection: RedisConnection
  readonly keyPrefix: string
  readonly clock: Clock
  /** Milliseconds for one step (one SCAN, one batch of values). */
  readonly stepTimeout: number
}

export class Keyspace {
  readonly #options: KeyspaceOptions
  readonly #prefix: Buffer
  readonly #leases = Buffer.from(LEASE_PREFIX)
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  constructor(options: KeyspaceOptions) {
    this.#options = options
    this.#prefix = Buffer.from(options.keyPrefix)
  }

  /** Identifiers that begin with `prefix`, whatever their keys hold. */
  async *identifiers(prefix = ''): AsyncGenerator<string[]> {
    const match = `${escapeGlob(this.#options.keyPrefix + prefix)}*`
    for (const node of this.primaries()) {
      let cursor = '0'
      do {
        const [next, keys] = await this.step('scan', node.scanBuffer(cursor, 'MATCH', match, 'COUNT', MAPPING_BATCH))
        cursor = next.toString()
        const found: string[] = []
        for (const key of keys) {
          const identifier = this.#identifier(key)
          if (identifier !== undefined) found.push(identifier)
        }
        if (found.length > 0) yield found
      } while (cursor !== '0')
    }
  }

  /** Mappings whose identifier begins with `prefix`. */
  async *mappings(prefix = ''): AsyncGenerator<Mapping> {
    for await (const identifiers of this.identifiers(prefix)) {
      const destinations = await this.destinations(identifiers)
      for (const [index, identifier] of identifiers.entries()) {
        const destination = destinations[index]
        if (destination !== undefined) yield { identifier, destination }
      }
    }
  }

  /** What the store holds for each; undefined: nothing, or nothing that is a name. */
  async destinations(identifiers: readonly string[]): Promise<(string | undefined)[]> {
    const { connection } = this.#options
    const { commands } = connection
    connection.gather()
    const values = identifiers.map((identifier) =>
      commands.getrange(this.#options.keyPrefix + identifier, 0, MAPPING_VALUE).then(
        (value) => (value === '' || Buffer.byteLength(value) > MAPPING_VALUE ? undefined : value),
        (error: unknown) => {
          if (replyCode(error) === 'WRONGTYPE') return undefined
          throw error
        },
      ),
    )
    return this.step('read', Promise.all(values))
  }

  /** The servers that hold keys. */
  primaries(): readonly Redis[] {
    const { commands } = this.#options.connection
    return commands instanceof Cluster ? commands.nodes('master') : [commands]
  }

  /** One step within its deadline. A connection that doesn't answer is made again, so that nothing gathers in it. */
  async step<T>(doing: string, work: Promise<T>): Promise<T> {
    const { clock, stepTimeout, connection } = this.#options
    try {
      return await within(clock, stepTimeout, `Redis: ${doing}`, work, () => connection.remake(`no answer to ${doing}`))
    } catch (error) {
      throw redisFailure(error, isReplyError(error) ? doing : `${doing}: the connection was lost (${connection.lastError})`)
    }
  }

  #identifier(key: Buffer): string | undefined {
    if (key.length <= this.#prefix.length || key.compare(this.#prefix, 0, this.#prefix.length, 0, this.#prefix.length) !== 0) {
      return undefined
    }
    if (key.subarray(0, this.#leases.length).equals(this.#leases)) return undefined
    try {
      return this.#decoder.decode(key.subarray(this.#prefix.length))
    } catch {
      return undefined
    }
  }
}

/** The text as a pattern that matches only itself (Redis, "KEYS": glob-style patterns). */
export function escapeGlob(text: string): string {
  return text.replace(/[*?[\]\\^-]/g, '\\$&')
}
