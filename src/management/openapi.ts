/**
 * The API described by itself: OpenAPI 3.1, made of the same data that the routes are served with, so that a new route is in
 * it without anybody's doing. What no route has for itself (404 for no path, 405, 408, 431) is told in words.
 */
import { data } from './answer.ts'
import { pathNames } from './path.ts'
import { describe, objectOf, route } from './route.ts'
import type { Route, Schema } from './route.ts'

const ABOUT = `A request with no path of these is answered with 404, one with another method with 405 and Allow, one whose head is
larger than 16 KiB with 431, one that doesn't come in with 408. Parameters are percent-encoded UTF-8, a plus is a plus. Answers are a line
of text, or JSON where Accept names application/json.`

/** The document. `routes` in the order in which they are to be read. */
export function openApi(routes: readonly Route[], version: string): Readonly<Record<string, unknown>> {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const one of routes) {
    const path = (paths[one.path] ??= {})
    path[one.method.toLowerCase()] = operation(one)
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Signalbox management API', version, description: ABOUT, license: { name: 'MIT', identifier: 'MIT' } },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }],
    paths,
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: '`[admin] bearer_token`' } } },
  }
}

function operation(of: Route): Readonly<Record<string, unknown>> {
  const { summary, response } = describe(of)
  const places = pathNames(of.path)
  return {
    operationId: operationId(of),
    summary,
    tags: [of.path.split('/')[1]],
    ...(of.open === true ? { security: [] } : {}),
    ...(of.openWhen === undefined ? {} : { security: [{ bearer: [] }, {}] }),
    parameters: Object.entries(of.parameters).map(([name, { description, schema, required }]) => ({
      name,
      in: places.includes(name) ? 'path' : 'query',
      required: required || places.includes(name),
      description,
      schema,
    })),
    ...(of.streams === true ? { requestBody: { required: false, content: { '*/*': { schema: {} } } } } : {}),
    responses: Object.fromEntries(Object.entries(response).map(([status, answer]) => [status, { ...modern(answer), ...headersOf(status) }])),
  }
}

/** `getMappingsList` of GET /mappings/list. */
function operationId({ method, path }: Route): string {
  const words = path.split(/[^a-z]+/).filter((word) => word !== '')
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

function headersOf(status: string): { readonly headers?: Schema } {
  const header = (name: string, description: string) => ({ headers: { [name]: { description, schema: { type: 'string' } } } })
  if (status === '401') return header('WWW-Authenticate', 'Bearer')
  if (status === '429') return header('Retry-After', 'Seconds')
  return {}
}

/** JSON Schema of 2020-12 knows no `nullable`. */
function modern(schema: unknown): Record<string, unknown> {
  if (typeof schema !== 'object' || schema === null) return {}
  const { nullable, ...rest } = { nullable: false, ...schema }
  const inner = Object.entries(rest).map(([name, value]): [string, unknown] => {
    if (name === 'type' && nullable === true) return [name, [value, 'null']]
    return [name, typeof value === 'object' && value !== null && !Array.isArray(value) ? modern(value) : value]
  })
  return Object.fromEntries(inner)
}

/** The route that gives the document. `routes` is asked for when it is, since this one is among them. */
export function openApiRoute(routes: () => readonly Route[], version: string): Route {
  return route({
    method: 'GET',
    path: '/openapi.json',
    summary: 'This description.',
    parameters: {},
    answers: {
      200: {
        description: 'OpenAPI 3.1.',
        text: false,
        json: { ...objectOf({ openapi: { type: 'string' }, info: { type: 'object', additionalProperties: true }, paths: { type: 'object', additionalProperties: true } }), additionalProperties: true },
      },
    },
    handle: () => data(openApi(routes(), version)),
  })
}
