/**
 * Where a request goes: the account in it, that account's route, a destination that takes requests. All of it is asked
 * once more right before the first byte goes out, because a mapping may have changed while a connection was dialled.
 */
import type { DestinationConfig, LegConfig } from '../../config/config.ts'
import { SignalboxError } from '../../errors.ts'
import { HOLD_MS } from '../../limits.ts'
import type { Rule } from '../../protocol/http/routes.ts'
import type { OpenRoute } from '../../resolver/route.ts'
import type { PendingRequest } from './pending-request.ts'

/** Where a request goes. */
export interface Target {
  readonly destination: DestinationConfig
  readonly leg: LegConfig
  /** Undefined: the rule names the destination. */
  readonly route: OpenRoute | undefined
}

/** How long a lookup may take, a hold of the account included. */
const RESOLVE_MS = HOLD_MS + 30_000

/** The identifier in the request, if its rule looks for one. What could be in no mapping is none. */
export async function accountOf(rule: Rule, pending: PendingRequest): Promise<string | undefined> {
  if (rule.kind === 'pinned') return undefined
  const { extractor } = rule
  const name = extractor.from === 'head' ? extractor.name(pending.head) : extractor.name(await bodyAhead(pending))
  if (name === undefined) return undefined
  try {
    return pending.services.identifier(name)
  } catch (thrown) {
    if (thrown instanceof SignalboxError && thrown.code === 'CLIENT_BAD_IDENTIFIER') return undefined
    throw thrown
  }
}

async function bodyAhead(pending: PendingRequest): Promise<Buffer> {
  const { body, client, halt, head, services, traffic } = pending
  if (head.expectsContinue) {
    client.inform(100, [])
    pending.continued = true
  }
  const late = services.clock.after(services.http.relayIdle, () => halt.now(new SignalboxError('CLIENT_TIMEOUT', 'the body did not come in time')))
  try {
    return await body.ahead(services.http.bodyExtractCap, halt, (bytes) => traffic.received(bytes))
  } finally {
    late.cancel()
  }
}

/**
 * Undefined: the account's route must be asked for.
 *
 * @throws SignalboxError ROUTE_UNAVAILABLE, BACKEND_NO_LEG
 */
export function knownTarget(rule: Rule, account: string | undefined, { services }: PendingRequest): Target | undefined {
  if (rule.kind === 'pinned') return to(services.destinationNamed(rule.destination), undefined)
  if (account === undefined && rule.fallback !== undefined) return to(services.destinationNamed(rule.fallback), undefined)
  const route = account === undefined ? services.resolver.defaultRoute() : services.resolver.cached(account)
  return route === undefined ? undefined : to(services.destination(route.destination), route)
}

/** @throws SignalboxError why there is no route, or why the request was ended */
export async function lookedUp(account: string, { halt, services, signal }: PendingRequest): Promise<Target> {
  const route = await halt.until(services.resolverRef.ask({ type: 'resolve', identifier: account }, RESOLVE_MS, signal()))
  if (route.kind === 'unavailable') throw route.error
  return to(services.destination(route.destination), route)
}

function to(destination: DestinationConfig | undefined, route: OpenRoute | undefined): Target {
  if (destination === undefined) throw new SignalboxError('ROUTE_UNAVAILABLE', 'the destination is gone')
  const leg = destination.legs.http
  if (leg === undefined) throw new SignalboxError('BACKEND_NO_LEG', `destination "${destination.name}" has no http leg`)
  return { destination, leg, route }
}

/** @throws SignalboxError BACKEND_DOWN, or why the request was ended */
export async function admitted({ destination: { name } }: Target, { halt, services }: PendingRequest): Promise<void> {
  const answer = services.admit(name)
  if (answer === true || (answer !== false && (await halt.until(answer)))) return
  throw new SignalboxError('BACKEND_DOWN', `destination "${name}" is marked down`)
}

/** The last look before the first byte: the route must still hold, and the destination take requests. */
export function mayNotGo({ destination, route }: Target, { services }: PendingRequest): 'moved' | SignalboxError | undefined {
  if (route !== undefined && services.resolver.standing(route) !== 'holds') return 'moved'
  if (services.sessions.mayGoTo(destination.name)) return undefined
  return new SignalboxError('BACKEND_DOWN', `destination "${destination.name}" was taken out`)
}
