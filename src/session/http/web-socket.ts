/**
 * A WebSocket (RFC 6455): after the backend's 101 the two sockets are bridged as those of mail are, and count as a session
 * of the account. Nothing of what is said on it is read.
 */
import { Socket } from 'node:net'
import { SignalboxError } from '../../errors.ts'
import { responseFields } from '../../protocol/http/messages.ts'
import { bridge } from '../bridge.ts'
import type { BridgeResult } from '../bridge.ts'
import type { SessionEnd } from '../services.ts'
import type { Upgraded } from './exchange.ts'
import type { UpgradeClient } from './http1-client.ts'
import type { HttpServices } from './services.ts'

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
    const began = services.clock.now()
    const { promise: over, resolve: done } = Promise.withResolvers<BridgeResult>()
    const socket = client.switchProtocols(responseFields(response.rawHeaders))
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
