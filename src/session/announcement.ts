/**
 * What a backend may be told of the client, and how often a connection may still be forwarded. Addresses and ports are
 * those of the client's own connection. Which of it is told, and how, is decided by the destination's leg.
 */
import type { ListenerConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { isTrusted } from '../listener/trusted.ts'
import type { ClientAnnouncement, DialogueFacts } from '../protocol/protocol.ts'
import type { AcceptedConnection } from './services.ts'

/** @param ttl what is left of the forwarding's time-to-live, for the backend */
export function announcement(connection: AcceptedConnection, ttl: number, clientTls: string | undefined): ClientAnnouncement {
  return new Announcement(connection, ttl, clientTls)
}

/** Our own end of the connection is asked of the system by whoever announces it. */
class Announcement implements ClientAnnouncement {
  readonly #connection: AcceptedConnection
  readonly ttl: number
  readonly clientTls: string | undefined

  constructor(connection: AcceptedConnection, ttl: number, clientTls: string | undefined) {
    this.#connection = connection
    this.ttl = ttl
    this.clientTls = clientTls
  }

  get clientAddress(): string {
    return this.#connection.clientAddress
  }

  get clientPort(): number {
    return this.#connection.clientPort
  }

  get localAddress(): string {
    return this.#connection.localAddress
  }

  get localPort(): number {
    return this.#connection.localPort
  }

  get session(): string {
    return this.#connection.id
  }
}

export interface Hop {
  readonly connection: AcceptedConnection
  readonly listener: ListenerConfig
  readonly facts: DialogueFacts
  /** server.proxy_ttl. */
  readonly proxyTtl: number
}

/**
 * What is left of the time-to-live behind us. It begins with server.proxy_ttl, or with what a proxy in front of us has
 * announced. Who speaks in the dialogue counts, so it is the client's address that must be trusted: a client behind a
 * trusted balancer is not.
 *
 * @throws SignalboxError BACKEND_LOOP when nothing is left
 */
export function timeToLive({ connection, listener, facts, proxyTtl }: Hop): number {
  const believed = facts.announcedTtl !== undefined && isTrusted(listener, connection.clientAddress)
  const ttl = (believed ? (facts.announcedTtl ?? proxyTtl) : proxyTtl) - 1
  if (ttl <= 0) throw new SignalboxError('BACKEND_LOOP', 'the login was forwarded too often: its time-to-live is used up')
  return ttl
}
