/**
 * Hears from PostgreSQL what others change: LISTEN on a channel that a trigger notifies (docs/sql.md), with the identifier
 * as the payload, or none for everything. Notifications sent while nobody listens are lost, so the end of the connection
 * is doubt, and so is its return. At each heartbeat the server is asked whether this session still listens, within a
 * deadline: a network that swallows everything is noticed, and so is a pooling proxy that hands the session to others.
 */
import { escapeIdentifier, type Client } from 'pg'
import type { Clock, Timer } from '../../clock.ts'
import { WATCH_SILENCE } from '../../limits.ts'
import { watchLost, watchUnavailable, watchUp } from '../../observe/events.ts'
import { reconnectPause } from '../backoff.ts'
import { within } from '../deadline.ts'
import { Gathering } from '../gathering.ts'
import type { SourceLog } from '../notice.ts'
import type { Changed } from '../source.ts'
import { plainWords } from './connection.ts'
import { connectPostgres } from './postgres.ts'
import type { TrustedServer } from './tls.ts'

export interface PostgresListenerOptions {
  readonly server: TrustedServer
  readonly channel: string
  readonly clock: Clock
  readonly log: SourceLog
  /** Milliseconds for connecting. */
  readonly timeout: number
  /** Milliseconds between two looks at the connection. */
  readonly heartbeat: number
  readonly onChange: (change: Changed | { readonly doubt: true; readonly reason: string }) => void
}

export class PostgresListener {
  readonly #options: PostgresListenerOptions
  /** As written, and as PostgreSQL folds it where a NOTIFY names it without quotes. */
  readonly #channels: readonly string[]
  /** A trigger notifies row by row. */
  readonly #gathering: Gathering
  #client: Client | undefined
  #heartbeat: Timer | undefined
  #again: Timer | undefined
  #beating = false
  #missed = false
  #tries = 0
  #closed = false

  constructor(options: PostgresListenerOptions) {
    this.#options = options
    this.#gathering = new Gathering(options.clock, (changed) => options.onChange(changed))
    this.#channels = [...new Set([options.channel, options.channel.toLowerCase()])]
  }

  get state(): 'on' | 'unavailable' {
    return this.#client === undefined ? 'unavailable' : 'on'
  }

  /** Resolves after the first try, whatever came of it; goes on by itself. */
  async open(): Promise<void> {
    await this.#try()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#gathering.close()
    this.#again?.cancel()
    this.#heartbeat?.cancel()
    const client = this.#client
    this.#client = undefined
    await client?.end()
  }

  async #try(): Promise<void> {
    const { server, timeout, clock, log, heartbeat } = this.#options
    let client: Client | undefined
    try {
      client = await connectPostgres(server, timeout, 'signalbox-listen')
      this.#hear(client)
      await within(clock, timeout, 'SQL: listen', this.#listen(client))
    } catch (error) {
      client?.connection.stream.destroy()
      // Said once: when it is up again that is told too.
      if (!this.#missed) watchUnavailable(log, { reason: plainWords(error) })
      this.#missed = true
      return this.#later()
    }
    if (this.#closed) {
      await client.end()
      return
    }
    this.#client = client
    this.#tries = 0
    this.#heartbeat = clock.every(heartbeat, () => void this.#beat(client))
    if (!this.#missed) return
    watchUp(log)
    this.#doubt('the connection that listens was made anew')
  }

  async #listen(client: Client): Promise<void> {
    for (const channel of this.#channels) await client.query(`LISTEN ${escapeIdentifier(channel)}`)
    await this.#check(client)
  }

  /** Throws when the session does not listen: then something in between shares it out. */
  async #check(client: Client): Promise<void> {
    const { rows } = await client.query<{ channel: string }>('SELECT pg_listening_channels() AS channel')
    const heard = new Set(rows.map(({ channel }) => channel))
    if (!this.#channels.every((channel) => heard.has(channel))) throw new Error('the session does not listen any more')
  }

  #hear(client: Client): void {
    let reason = 'the connection was closed'
    client.on('error', (error) => (reason = plainWords(error)))
    client.once('end', () => this.#lost(client, reason))
    client.on('notification', ({ payload }) => {
      this.#gathering.add(payload === '' ? undefined : payload)
    })
  }

  async #beat(client: Client): Promise<void> {
    if (this.#beating || this.#client !== client) return
    this.#beating = true
    const { clock, heartbeat } = this.#options
    try {
      await within(clock, heartbeat * WATCH_SILENCE, 'SQL: listen', this.#check(client))
    } catch (error) {
      this.#lost(client, plainWords(error))
    } finally {
      this.#beating = false
    }
  }

  #lost(client: Client, reason: string): void {
    if (this.#client !== client) return
    this.#client = undefined
    this.#heartbeat?.cancel()
    client.connection.stream.destroy()
    this.#missed = true
    watchLost(this.#options.log, { reason })
    this.#doubt(`the connection that listens was lost: ${reason}`)
    this.#later()
  }

  #later(): void {
    if (this.#closed) return
    this.#again = this.#options.clock.after(reconnectPause(++this.#tries), () => void this.#try())
  }

  #doubt(reason: string): void {
    // What was heard is void, which is more than doubtful.
    this.#gathering.flush()
    this.#options.onChange({ doubt: true, reason })
  }
}
