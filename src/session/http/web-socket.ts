/**
 * A WebSocket (RFC 6455): after the backend's 101 the two sockets are bridged as those of mail are, and count as a session
 * of the account. Nothing of what is said on it is read.
 */
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { DestinationConfig } from '../../config/config.ts'
import { SignalboxError } from '../../errors.ts'
import { responseFields } from '../../protocol/http/messages.ts'
import { bridge } from '../bridge.ts'
import type { BridgeResult } from '../bridge.ts'
import type { LoginFacts, SessionEnd } from '../services.ts'
import type { EndedBy } from '../sessions.ts'
import type { Exchange } from './exchange.ts'
import type { UpgradeClient } from './http1-client.ts'
import type { HttpServices } from './services.ts'

/** A backend that has agreed to speak another protocol. */
export interface Upgraded {
  readonly exchange: Exchange
  readonly response: IncomingMessage
  readonly socket: Duplex
  /** What it has sent behind its head. */
  readonly early: Buffer
  readonly destination: DestinationConfig
  readonly facts: LoginFacts
}

/** A WebSocket that stands. */
export interface Bridge {
  end(why: EndedBy): void
  readonly bytesIn: number
  readonly bytesOut: number
}

/** Resolves when the bridge is over. Rejects with ACCOUNT_FULL; the client can be told so then. */
export async function webSocket({ exchange, response, socket: backend, early, destination, facts }: Upgraded, client: UpgradeClient, behind: Buffer, services: HttpServices): Promise<void> {
  if (!(backend instanceof Socket)) throw new SignalboxError('INTERNAL', 'a backend connection is a socket')
  const { account } = facts
  const place = account === undefined ? undefined : ({ of: 'account', name: account } as const)
  const granted = place === undefined ? true : services.places.take(place, exchange.connection.id)
  const giveBack = (): void => {
    if (place !== undefined && granted !== true) services.places.giveBack(place, exchange.connection.id)
  }
  try {
    if (granted !== true && !(await granted)) throw new SignalboxError('ACCOUNT_FULL', 'the account has as many sessions as it may')
    if (exchange.ended) throw new SignalboxError('CLIENT_CLOSED', 'the client went away')
    if (backend.destroyed) throw new SignalboxError('BACKEND_CLOSED', 'the backend closed the connection behind its agreement')
    const began = services.clock.now()
    const { promise: over, resolve: done } = Promise.withResolvers<BridgeResult>()
    const socket = client.switchProtocols(responseFields(response.rawHeaders, 101))
    if (early.length > 0) socket.write(early)
    if (behind.length > 0) backend.write(behind)
    backend.allowHalfOpen = true
    const meter = services.counters.leg('http', destination.name)
    const bridged = bridge({ client: socket, backend, idle: services.server.bridgeIdle, done, meter })
    let ended: SessionEnd | undefined
    exchange.bridged({
      get bytesIn() {
        return bridged.bytesIn
      },
      get bytesOut() {
        return bridged.bytesOut
      },
      end(why) {
        ended ??= why
        bridged.end()
      },
    })
    services.report.accepted(exchange, facts)
    const { reason, bytesIn, bytesOut } = await over
    services.report.closed(exchange, { reason: ended ?? reason, error: undefined, bytesIn, bytesOut, seconds: (services.clock.now() - began) / 1000, login: facts })
  } catch (thrown) {
    backend.destroy()
    throw thrown
  } finally {
    giveBack()
  }
}
