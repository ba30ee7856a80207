/**
 * An http listener with everything around it in a test's hands: real sockets on both sides, of which a test says every byte,
 * dials that succeed when they are told to, a real resolver over a scripted source, a clock that stands still.
 *
 * /one and what lies below it goes to the destination "one", /mine to that of the account in Authorization, all else is 404.
 */
import { spawn } from '../../../src/actor/actor.ts'
import type { CancelSignal } from '../../../src/cancel.ts'
import type { HttpConfig, ListenerConfig, ServerConfig } from '../../../src/config/config.ts'
import type { DialRequest } from '../../../src/destination/backend.ts'
import { SignalboxError } from '../../../src/errors.ts'
import { Counters } from '../../../src/observe/counters.ts'
import { HttpService } from '../../../src/session/http/service.ts'
import type { HttpServices, RequestReport } from '../../../src/session/http/services.ts'
import { PreauthMemory } from '../../../src/session/preauth-memory.ts'
import { Sessions } from '../../../src/session/sessions.ts'
import type { SessionsMessage } from '../../../src/session/sessions.ts'
import { scripted } from '../../resolver/scripted.ts'
import type { Scripted } from '../../resolver/scripted.ts'
import { testDestination, testLeg, testListener } from '../../support/config.ts'
import { serverConfigOf } from '../../support/fake-backend.ts'
import { eventually } from '../../support/settled.ts'
import { socketPair } from '../../support/socket-pair.ts'
import type { SocketPair } from '../../support/socket-pair.ts'

export const GET = 'GET /one HTTP/1.1\r\nHost: proxy\r\n\r\n'
export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
/** Of the account "ann". */
export const MINE = `Authorization: Basic ${Buffer.from('ann:secret').toString('base64')}\r\n`

export interface OpenDial {
  readonly request: DialRequest
  readonly cancel: CancelSignal
  /** The backend's end, and ours. */
  succeed(): Promise<SocketPair>
  fail(error: SignalboxError): void
}

export interface HttpUnit {
  readonly service: HttpService
  readonly box: Scripted
  readonly clock: Scripted['clock']
  readonly counters: Counters
  readonly dials: OpenDial[]
  /** Every request that is over. */
  readonly requests: RequestReport[]
  /** What was reported: `unavailable CODE`, `refused`, `accepted`, `closed reason`, `outcome ok`, `outcome CODE`. */
  readonly told: string[]
  /** Places that are taken now: `account ann`, `destination one`. */
  readonly places: string[]
  /** A new client; `near` is the proxy's end. `over` resolves when the proxy is through with it. */
  connect(): Promise<SocketPair & { readonly over: Promise<void> }>
  /** The next dial, which is let succeed; both its ends. */
  backend(): Promise<SocketPair>
  nextDial(): Promise<OpenDial>
  kick(account: string): Promise<number>
  /** How many sessions the operator would be shown or could end. */
  open(): number
  [Symbol.asyncDispose](): Promise<void>
}

export interface HttpUnitOptions {
  readonly http?: Partial<HttpConfig>
  readonly server?: Partial<ServerConfig>
  readonly listener?: Partial<ListenerConfig>
  readonly services?: Partial<HttpServices>
  /** Places that are denied. */
  readonly full?: (place: string) => boolean
}

export function httpUnit(options: HttpUnitOptions = {}): HttpUnit {
  const box = scripted()
  const { clock } = box
  const sessions = new Sessions(clock)
  const actor = spawn<SessionsMessage>(sessions, { name: 'sessions', clock })
  const legs = { http: testLeg({ protocol: 'http', port: 80 }) }
  const destinations = ['legacy', 'one', 'two', 'three'].map((name) => testDestination({ name, legs }))
  const dials: OpenDial[] = []
  const requests: RequestReport[] = []
  const told: string[] = []
  const places: string[] = []
  const pairs: SocketPair[] = []
  const counters = new Counters()
  let taken = 0
  const pair = async (): Promise<SocketPair> => {
    const made = await socketPair()
    pairs.push(made)
    return made
  }
  const services: HttpServices = {
    clock,
    server: serverConfigOf(options.server),
    tls: { accept: () => Promise.reject(new SignalboxError('CLIENT_TLS', 'no TLS in this test')) },
    dialer: {
      dial: (request, cancel) =>
        new Promise((resolve, reject) => {
          cancel.addEventListener('abort', () => reject(cancel.reason))
          dials.push({
            request,
            cancel,
            fail: reject,
            succeed: async () => {
              const made = await pair()
              const { near } = made
              resolve({
                capabilities: [],
                replay: () => Promise.reject(new Error('no login')),
                respond: () => Promise.reject(new Error('no login')),
                release: () => ({ socket: near, early: Buffer.alloc(0) }),
                destroy: () => void near.destroy(),
              })
              return made
            },
          })
        }),
    },
    resolver: box.resolver,
    resolverRef: box.actor.ref,
    sessions,
    sessionsRef: actor.ref,
    identify: () => undefined,
    destination: (id) => destinations[id],
    destinationNamed: (name) => destinations.find((destination) => destination.name === name),
    admit: () => true,
    places: {
      take: ({ of, name }) => {
        const place = `${of} ${name}`
        if (options.full === undefined) return true
        const granted = !options.full(place)
        if (granted) places.push(place)
        return Promise.resolve(granted)
      },
      giveBack: ({ of, name }) => {
        const at = places.indexOf(`${of} ${name}`)
        if (at >= 0) places.splice(at, 1)
      },
    },
    preauth: new PreauthMemory(Number.POSITIVE_INFINITY),
    countAddress: () => Promise.resolve(true),
    penalty: () => Promise.resolve(1_000),
    report: {
      accepted: (_, { account }) => told.push(`accepted ${account ?? '-'}`),
      passedThrough: () => told.push('passed through'),
      refused: (_, { account }) => told.push(`refused ${account ?? '-'}`),
      unavailable: (_session, _facts, { code }) => told.push(`unavailable ${code}`),
      closed: (_, { reason, error }) => told.push(`closed ${error?.code ?? reason}`),
    },
    counters,
    http: {
      routes: [
        { match: '/one/**', destination: 'one', extract: undefined, fallback: undefined },
        { match: '/one', destination: 'one', extract: undefined, fallback: undefined },
        { match: '/mine', destination: undefined, extract: { from: 'authorization' }, fallback: undefined },
        { match: '/named', destination: undefined, extract: { from: 'body', regex: 'name=([a-z]+)' }, fallback: undefined },
      ],
      bodyExtractCap: 65_536,
      maxHeadSize: 65_536,
      relayIdle: 60_000,
      keepaliveTimeout: 75_000,
      maxKeepaliveRequests: 1_000,
      ...options.http,
    },
    usernameClaim: 'email',
    identifier: (name) => name,
    outcome: (_destination, _client, outcome) => told.push(`outcome ${outcome.ok ? 'ok' : outcome.error.code}`),
    requested: (request) => requests.push(request),
    ...options.services,
  }
  const service = new HttpService(testListener({ name: 'web', protocol: 'http', ...options.listener }), services)
  const nextDial = async (): Promise<OpenDial> => {
    await eventually(() => dials.length > taken, 'a dial begins')
    const dial = dials[taken++]
    if (dial === undefined) throw new Error('no dial')
    return dial
  }
  return {
    service,
    box,
    clock,
    counters,
    dials,
    requests,
    told,
    places,
    async connect() {
      const made = await pair()
      const connection = { socket: made.near, id: `c${pairs.length}`, number: 1, clientAddress: '192.0.2.7', clientPort: 5, localAddress: '127.0.0.1', localPort: 6 }
      return { ...made, over: service.serve(connection) }
    },
    nextDial,
    backend: async () => (await nextDial()).succeed(),
    kick: (identifier) => actor.ref.ask({ type: 'kick', identifier }, 1_000),
    open: () => sessions.size,
    async [Symbol.asyncDispose]() {
      for (const { near, far } of pairs) {
        near.destroy()
        far.socket.destroy()
      }
      await eventually(() => pairs.every(({ near }) => near.closed), 'everything is closed')
      // However a test has ended: what has no connection any more is no session.
      await eventually(() => sessions.size === 0, 'nothing is left')
    },
  }
}
