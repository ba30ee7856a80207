/**
 * The management API: fastify over node:https in the primary. Owns the listening socket, the order in which a request is
 * looked at (lockout and token, path and method, body, parameters), how an Answer becomes bytes, and the audit line of
 * every change. What the routes do is theirs; what the instance does is Operations'.
 */
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import { METHODS } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import fastify from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest, FastifyTypeProviderDefault } from 'fastify'
import type { ServerResponse } from 'node:http'
import type { Clock } from '../clock.ts'
import type { AdminConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import * as limits from '../limits.ts'
import type { Audit } from '../observe/audit.ts'
import { managementFailed } from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { addressText } from './address-key.ts'
import { failure, namesJson } from './answer.ts'
import type { Answer } from './answer.ts'
import { discardBody } from './body.ts'
import type { BodyEnd } from './body.ts'
import { cacheRoutes } from './cache.ts'
import { connectionRoutes } from './connections.ts'
import { destinationRoutes } from './destinations.ts'
import { createGuard } from './guard.ts'
import type { Guard } from './guard.ts'
import { healthRoutes } from './health.ts'
import { mappingRoutes } from './mappings.ts'
import type { Operations } from './operations.ts'
import { internalError, refusal } from './refusal.ts'
import { describe } from './route.ts'
import type { Route } from './route.ts'
import { Sockets } from './sockets.ts'
import { statsRoutes } from './stats.ts'

/** PEM texts of the API's certificate (chain) and key. */
export interface ManagementTls {
  readonly cert: string
  readonly key: string
}

export interface ManagementOptions {
  readonly admin: AdminConfig
  readonly tls: ManagementTls
  readonly operations: Operations
  readonly clock: Clock
  readonly log: Logger
  readonly audit: Audit
}

export interface ManagementServer {
  /** Where it listens; the port that was given by the kernel when 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number }
  /** Connections open at the moment. */
  readonly connections: number
  /** Uses another certificate for connections from now on. Throws CONFIG_INVALID when key and certificate don't match. */
  secure(tls: ManagementTls): void
  /** Accepts nothing more, closes idle connections, resolves when the requests under way are answered. Idempotent. */
  close(): Promise<void>
  /** Breaks every connection. Idempotent. */
  destroy(): Promise<void>
}

/** Every route of the API, in the order of its documentation. */
export const routes: readonly Route[] = [
  ...healthRoutes,
  ...statsRoutes,
  ...destinationRoutes,
  ...mappingRoutes,
  ...cacheRoutes,
  ...connectionRoutes,
]

/** Binds and serves. Rejects with LISTEN_FAILED, or CONFIG_INVALID for a certificate that can't be used. */
export async function startManagement(options: ManagementOptions): Promise<ManagementServer> {
  const sockets = new Sockets()
  const { app, server } = buildApp(options, sockets)
  const { host, port } = options.admin.bind
  try {
    await app.listen({ host, port, ipv6Only: options.admin.bind.family === 6 })
  } catch (cause) {
    await app.close()
    throw new SignalboxError('LISTEN_FAILED', `the management API cannot listen on ${options.admin.bind.text}`, { cause })
  }
  const bound = server.address()
  const address = typeof bound === 'object' && bound !== null ? { host: bound.address, port: bound.port } : { host, port }
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= app.close()
    sockets.drain()
    return closed
  }
  return {
    address,
    get connections() {
      return sockets.size
    },
    secure: (tls) => checkedTls(() => server.setSecureContext({ ...tls, minVersion: 'TLSv1.2' })),
    close,
    destroy() {
      const done = close()
      sockets.destroy()
      return done
    },
  }
}

type App = FastifyInstance<Server, IncomingMessage, ServerResponse, FastifyBaseLogger, FastifyTypeProviderDefault>

function buildApp(options: ManagementOptions, sockets: Sockets): { app: App; server: Server } {
  const guard = createGuard(options.admin, options.clock, options.log)
  let server: Server | undefined
  const app = fastify<Server>({
    serverFactory: (handler) => {
      server = createHttps(options.tls, (request, response) => {
        sockets.begin(request, response)
        handler(request, response)
      })
      sockets.watch(server)
      return server
    },
    clientErrorHandler: answerUnreadable,
    routerOptions: {
      ignoreTrailingSlash: true,
      // Parameters are read by parameters.ts; fastify's own reading would take `+` for a blank and let bad encodings pass.
      querystringParser: () => ({}),
    },
    return503OnClosing: false,
    frameworkErrors: (_, request, reply) => {
      const refused = guard(request.raw)
      const answer = refused ?? failure(400, 'BAD_REQUEST', 'the path is not properly percent-encoded')
      void discardBody(request.raw).then((end) => send(request.raw, reply, end === 'complete' ? answer : tooLarge()))
    },
  })
  if (server === undefined) throw new SignalboxError('INTERNAL', 'no server was made')
  // Nothing is validated by fastify: the sentences of parameters.ts name the parameter, those of a schema don't.
  app.setValidatorCompiler(() => () => true)
  // Bodies are read by body.ts, whatever they claim to be.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  for (const method of METHODS) if (!app.supportedMethods.includes(method)) app.addHttpMethod(method)
  register(app, options, guard)
  return { app, server }
}

function register(app: App, options: ManagementOptions, guard: Guard): void {
  const bodies = new WeakMap<IncomingMessage, Promise<BodyEnd>>()
  app.addHook('onRequest', async (request) => {
    // A Content-Type that can't be read would be refused by fastify before our own parser is asked.
    delete request.raw.headers['content-type']
    bodies.set(request.raw, discardBody(request.raw))
  })
  /** The whole of a request's treatment, up to an answer. */
  const treat = async (request: FastifyRequest, reply: FastifyReply, open: boolean, work: () => Promise<Answer>) => {
    const refused = open ? undefined : guard(request.raw)
    const end = await bodies.get(request.raw)
    // Nobody is there to be answered, and half a request is not carried out.
    if (end === 'aborted') return reply.hijack()
    if (end === 'too-large') return send(request.raw, reply, refused === undefined ? tooLarge() : closing(refused))
    return send(request.raw, reply, refused ?? (await work()))
  }
  const byPath = Map.groupBy(routes, (route) => route.path)
  for (const [path, group] of byPath) {
    const open = group.some((route) => route.open === true)
    const allowed = group.flatMap(({ method }): string[] => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    for (const route of group) {
      app.route({
        method: route.method,
        url: path,
        schema: describe(route),
        handler: (request, reply) => treat(request, reply, open, () => carryOut(route, request, options)),
      })
    }
    const wrong = failure(405, 'METHOD_NOT_ALLOWED', `${path} takes ${allowed.join(', ')}`, { Allow: allowed.join(', ') })
    app.route({
      method: app.supportedMethods.filter((method) => !allowed.includes(method)),
      url: path,
      handler: (request, reply) => treat(request, reply, open, async () => wrong),
    })
  }
  app.setNotFoundHandler((request, reply) =>
    treat(request, reply, false, async () => failure(404, 'NOT_FOUND', 'there is no such path')),
  )
  app.setErrorHandler((error, request, reply) => {
    void send(request.raw, reply, mistake(error, request.method, request.routeOptions.url ?? '', request.raw, options))
  })
}

/** Reads the parameters, carries out, and writes the audit line of a change. Never rejects. */
async function carryOut(route: Route, request: FastifyRequest, options: ManagementOptions): Promise<Answer> {
  const begun = options.clock.now()
  let account: string | undefined
  let destination: string | undefined
  let answer: Answer
  try {
    const prepared = route.prepare(request.raw.url ?? '', options.operations)
    account = prepared.account
    destination = prepared.destination
    answer = await prepared.carryOut()
  } catch (thrown) {
    answer = refusal(thrown) ?? mistake(thrown, route.method, route.path, request.raw, options)
  }
  if (route.change !== undefined) {
    const { outcome, confirmation, facts } = answer.audit ?? { outcome: 'ok' }
    options.audit({
      change: route.change,
      ...(account === undefined ? {} : { account }),
      ...(destination === undefined ? {} : { destination }),
      client: addressText(request.raw.socket.remoteAddress),
      outcome,
      status: answer.status,
      seconds: Math.round(options.clock.now() - begun) / 1000,
      ...(confirmation === undefined ? {} : { confirmation }),
      ...(facts === undefined ? {} : { facts }),
    })
  }
  return answer
}

function mistake(error: unknown, method: string, path: string, raw: IncomingMessage, options: ManagementOptions): Answer {
  const { id, answer } = internalError()
  managementFailed(options.log, {
    error_id: id,
    method,
    route: path,
    client: addressText(raw.socket.remoteAddress),
    error,
  })
  return answer
}

const tooLarge = (): Answer => closing(failure(413, 'BODY_TOO_LARGE', `the body is larger than ${limits.ADMIN_BODY} bytes`))

function closing(answer: Answer): Answer {
  return { ...answer, headers: { ...answer.headers, Connection: 'close' } }
}

/** An Answer as bytes: JSON when the client names it or the route has nothing else, else one line of text. */
function send(request: IncomingMessage, reply: FastifyReply, answer: Answer): FastifyReply {
  const json = answer.alwaysJson === true || namesJson(request.headers.accept)
  reply
    .code(answer.status)
    .headers({ 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', ...answer.headers })
    .type(json ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8')
  if (answer.alwaysJson !== true) reply.header('Vary', 'Accept')
  return reply.send(json ? answer.json : `${answer.text}\n`)
}

function createHttps(tls: ManagementTls, handler: (request: IncomingMessage, response: ServerResponse) => void): Server {
  return checkedTls(() =>
    createServer(
      {
        ...tls,
        minVersion: 'TLSv1.2',
        handshakeTimeout: limits.ADMIN_HANDSHAKE_MS,
        maxHeaderSize: limits.ADMIN_HEAD,
        headersTimeout: limits.ADMIN_HEAD_MS,
        requestTimeout: limits.ADMIN_REQUEST_MS,
        keepAliveTimeout: limits.ADMIN_KEEPALIVE_MS,
        connectionsCheckingInterval: 1_000,
      },
      handler,
    ),
  )
}

function checkedTls<T>(use: () => T): T {
  try {
    return use()
  } catch (cause) {
    throw new SignalboxError('CONFIG_INVALID', 'the certificate of the management API cannot be used', { cause })
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/** What node:http could not read as a request: a last word when nothing was answered yet, then the end. */
function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const status = UNREADABLE[error.code ?? ''] ?? '400 Bad Request'
  const text = `${status.slice(4)}\n`
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
    () => socket.destroy(),
  )
}
