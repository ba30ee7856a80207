/**
 * The management API: fastify over node:https in the primary. Owns the listening socket, the order in which a request is
 * looked at (lockout and token, path and method, body, parameters), how an Answer becomes bytes, and the audit line of
 * every change. What the routes do is theirs; what the instance does is Operations'.
 */
import type { IncomingMessage } from 'node:http'
import { METHODS } from 'node:http'
import type { Server } from 'node:https'
import fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AdminConfig } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { VERSION } from '../version.ts'
import { ADMIN_DRAIN_MS, ADMIN_HEAD } from '../limits.ts'
import { failure } from './answer.ts'
import type { Answer } from './answer.ts'
import { discardBody } from './body.ts'
import type { BodyEnd } from './body.ts'
import { bulkRoutes } from './bulk.ts'
import { cacheRoutes } from './cache.ts'
import { configRoutes } from './config.ts'
import { connectionRoutes } from './connections.ts'
import { cutoverRoutes } from './cutover.ts'
import { destinationRoutes } from './destinations.ts'
import { eventRoutes } from './events.ts'
import { fleetRoutes } from './fleet.ts'
import { createGuard } from './guard.ts'
import type { Guard } from './guard.ts'
import { healthRoutes } from './health.ts'
import { checkedTls, createHttps } from './https.ts'
import type { ManagementTls } from './https.ts'
import { mappingRoutes } from './mappings.ts'
import { metricsRoutes } from './metrics.ts'
import { openApiRoute } from './openapi.ts'
import { matchPath, routerPath } from './path.ts'
import { closing, send, sendEarly, tooLarge, tooSlow } from './reply.ts'
import { describe } from './route.ts'
import type { Route } from './route.ts'
import { sessionRoutes } from './sessions.ts'
import { Sockets } from './sockets.ts'
import { statsRoutes } from './stats.ts'
import { carryOut, mistake } from './work.ts'
import type { WorkOptions } from './work.ts'

export type { ManagementTls } from './https.ts'

export interface ManagementOptions extends WorkOptions {
  readonly admin: AdminConfig
  readonly tls: ManagementTls
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
  ...metricsRoutes,
  ...destinationRoutes,
  ...mappingRoutes,
  ...bulkRoutes,
  ...cacheRoutes,
  ...connectionRoutes,
  ...configRoutes,
  ...sessionRoutes,
  ...cutoverRoutes,
  ...fleetRoutes,
  ...eventRoutes,
  openApiRoute(() => routes, VERSION),
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
    sockets.drain()
    if (closed !== undefined) return closed
    // An answer that is streamed may have no end in sight.
    const patience = options.clock.after(ADMIN_DRAIN_MS, () => sockets.destroy())
    closed = app.close().finally(() => patience.cancel())
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

type App = FastifyInstance<Server>

function buildApp(options: ManagementOptions, sockets: Sockets): { app: App; server: Server } {
  const guard = createGuard(options.admin, options.clock, options.log)
  let server: Server | undefined
  const app = fastify<Server>({
    serverFactory: (handler) => (server = createHttps(options.tls, sockets, handler)),
    // https.ts answers what can't be read; fastify insists on a listener of its own beside it.
    clientErrorHandler: () => {},
    routerOptions: {
      ignoreTrailingSlash: true,
      // How long one may be is for the parameter to say; the request's head bounds it here.
      maxParamLength: ADMIN_HEAD,
      // Parameters are read by parameters.ts; fastify's own reading would take `+` for a blank and let bad encodings pass.
      querystringParser: () => ({}),
    },
    return503OnClosing: false,
    frameworkErrors: (_, request, reply) => {
      const refused = guard(request.raw)
      void discardBody(request.raw, options.clock).then(async (end) => {
        const late = end === 'too-slow' ? tooSlow() : tooLarge()
        return send(request.raw, reply, end === 'complete' ? (refused ?? (await unreadablePath(request, reply, options))) : late)
      })
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

/** The router can't read such a path. Where only a parameter is at fault, its route says so, and the audit has it. */
async function unreadablePath(request: FastifyRequest, reply: FastifyReply, options: ManagementOptions): Promise<Answer> {
  const meant = routes.find(({ method, path }) => method === request.method && matchPath(path, request.raw.url ?? '') !== undefined)
  return meant === undefined
    ? failure(400, 'BAD_REQUEST', 'the path is not properly percent-encoded')
    : carryOut(meant, { request, contentType: undefined, gone: goneWith(reply) }, options)
}

/** A route's method and path as fastify knows them. */
function describedBy({ method, path }: Route): string {
  return `${method} ${routerPath(path)}`
}

/** Aborted when the answer's connection closes before its end. */
function goneWith({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController()
  raw.once('close', () => {
    if (!raw.writableFinished) gone.abort()
  })
  return gone.signal
}

function register(app: App, options: ManagementOptions, guard: Guard): void {
  const bodies = new WeakMap<IncomingMessage, Promise<BodyEnd>>()
  const contentTypes = new WeakMap<IncomingMessage, string | undefined>()
  const streaming = new Set(routes.filter(({ streams }) => streams === true).map(describedBy))
  app.addHook('onRequest', async (request) => {
    contentTypes.set(request.raw, request.raw.headers['content-type'])
    // One that is missing (QUERY) or can't be read would be refused by fastify before our own parser is asked.
    request.raw.headers['content-type'] = 'application/octet-stream'
    if (!streaming.has(`${request.method} ${request.routeOptions.url}`)) bodies.set(request.raw, discardBody(request.raw, options.clock))
  })
  /** The whole of a request's treatment, up to an answer. */
  const treat = async (request: FastifyRequest, reply: FastifyReply, open: boolean, work: () => Promise<Answer>) => {
    const refused = open ? undefined : guard(request.raw)
    const end = await bodies.get(request.raw)
    if (end === undefined) return treatStreaming(request, reply, refused, work)
    // Nobody is there to be answered, and half a request is not carried out.
    if (end === 'aborted') return reply.hijack()
    if (end !== 'complete') {
      const late = end === 'too-slow' ? tooSlow() : tooLarge()
      return send(request.raw, reply, refused === undefined ? late : closing(refused))
    }
    return send(request.raw, reply, refused ?? (await work()))
  }
  /** The route has its body for itself; where it left some of it unread, the connection ends with the answer. */
  const treatStreaming = async (request: FastifyRequest, reply: FastifyReply, refused: Answer | undefined, work: () => Promise<Answer>) => {
    const answer = refused ?? (await work())
    if (request.raw.complete || answer.stream !== undefined) return send(request.raw, reply, answer)
    return sendEarly(request.raw, reply, answer, options.clock)
  }
  const byPath = Map.groupBy(routes, (route) => route.path)
  for (const [path, group] of byPath) {
    const open = group.some((route) => route.open === true || route.openWhen?.(options.admin) === true)
    const allowed = group.flatMap(({ method }): string[] => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    for (const route of group) {
      app.route({
        method: route.method,
        url: routerPath(path),
        schema: describe(route),
        handler: (request, reply) =>
          treat(request, reply, open, () => {
            return carryOut(route, { request, contentType: contentTypes.get(request.raw), gone: goneWith(reply) }, options)
          }),
      })
    }
    const wrong = failure(405, 'METHOD_NOT_ALLOWED', `${path} takes ${allowed.join(', ')}`, { Allow: allowed.join(', ') })
    app.route({
      method: app.supportedMethods.filter((method) => !allowed.includes(method)),
      url: routerPath(path),
      handler: (request, reply) => treat(request, reply, open, async () => wrong),
    })
  }
  app.setNotFoundHandler((request, reply) =>
    treat(request, reply, false, async () => failure(404, 'NOT_FOUND', 'there is no such path')),
  )
  app.setErrorHandler((error, request, reply) => {
    void send(request.raw, reply, mistake(error, request, options))
  })
}
