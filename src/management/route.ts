/**
 * What a route is: plain data (method, path, summary, parameters, answers) and one function from read parameters to an
 * Answer. Routes know neither fastify nor sockets. `describe` gives the same data as the schema that fastify serialises
 * answers with and that a description of the whole API can be collected from.
 */
import type { AdminConfig } from '../config/config.ts'
import { badParameter } from './answer.ts'
import type { Answer, StreamType } from './answer.ts'
import type { Exchange } from './exchange.ts'
import type { Operations } from './operations.ts'
import { decodePercent, parseQuery } from './parameters.ts'
import type { Account, Parameter } from './parameters.ts'
import { matchPath, pathNames } from './path.ts'

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
export type Schema = Readonly<Record<string, unknown>>

type Parameters = Readonly<Record<string, Parameter<unknown>>>
type Values<P extends Parameters> = { readonly [K in keyof P]: P[K] extends Parameter<infer T> ? T : never }

interface AnswerFacts {
  readonly description: string
  readonly json?: Schema
  /** False: JSON for every client. */
  readonly text?: boolean
  /** Streamed as this; `json` is then what one line of it looks like. */
  readonly stream?: StreamType
  /** Besides, where a body asks for it: streamed as this, each line like that. */
  readonly lines?: { readonly type: StreamType; readonly json: Schema }
}

interface RouteFacts {
  readonly method: Method
  /** A parameter that stands in the path has its name in braces there (path.ts); all others come from the query. */
  readonly path: string
  readonly summary: string
  /** Needs no token and is never locked out. */
  readonly open?: boolean
  /** Needs none where the configuration says so. */
  readonly openWhen?: (admin: AdminConfig) => boolean
  /** Name of the change in the audit log; absent: nothing is changed. */
  readonly change?: string
  /** Reads its body itself, as it comes (Exchange.body), or not at all; every other route's body is thrown away unseen. */
  readonly streams?: boolean
  /** Status → what it means, and the JSON that goes with it. Statuses that every route shares are added. */
  readonly answers: Readonly<Record<number, AnswerFacts>>
}

export interface RouteDefinition<P extends Parameters> extends RouteFacts {
  readonly parameters: P
  readonly handle: (values: Values<P>, operations: Operations, exchange: Exchange) => Answer | Promise<Answer>
}

/** A request whose parameters were read: who it is about, and how to carry it out. */
export interface Prepared {
  /** Normalised; undefined when the route has no account, or none could be read. */
  readonly account: string | undefined
  readonly destination: string | undefined
  /** What the route does; for a bad parameter only the answer that says so. Never called twice. */
  carryOut(exchange: Exchange): Promise<Answer>
}

export interface Route extends RouteFacts {
  readonly parameters: Parameters
  /** Reads the parameters from the request target; nothing is carried out yet. */
  prepare(target: string, operations: Operations): Prepared
}

/** Makes a route of its definition. */
export function route<P extends Parameters>(definition: RouteDefinition<P>): Route {
  const { handle, ...facts } = definition
  return {
    ...facts,
    prepare(target, operations) {
      const values = new Map<string, unknown>()
      const mistake = readParameters(definition, target, operations, values)
      const account = values.get('identifier')
      const destination = values.get('destination')
      return {
        account: isAccount(account) ? account.normalized : undefined,
        destination: typeof destination === 'string' ? destination : undefined,
        // Without a mistake every parameter's name has a value of that parameter's own type.
        carryOut: async (exchange) => mistake ?? handle(Object.fromEntries(values) as Values<P>, operations, exchange),
      }
    },
  }
}

/** Puts the parameters' values into `values` up to the first mistake, which it gives. */
function readParameters(
  of: { readonly path: string; readonly parameters: Parameters },
  target: string,
  operations: Operations,
  values: Map<string, unknown>,
): Answer | undefined {
  const query = parseQuery(target)
  if (!query.ok) return query.answer
  const places = pathNames(of.path)
  const path = matchPath(of.path, target)
  for (const [name, parameter] of Object.entries(of.parameters)) {
    const encoded = path?.get(name)
    const decoded = encoded === undefined ? undefined : decodePercent(encoded)
    if (encoded !== undefined && decoded === undefined) return badParameter(name, 'is not properly percent-encoded')
    const reading = parameter.read(places.includes(name) ? decoded : query.values.get(name), operations)
    if (!reading.ok) return badParameter(name, reading.mistake)
    values.set(name, reading.value)
  }
  return undefined
}

function isAccount(value: unknown): value is Account {
  return typeof value === 'object' && value !== null && 'normalized' in value && typeof value.normalized === 'string'
}

const FAILURE: Schema = {
  type: 'object',
  required: ['error', 'code'],
  properties: { error: { type: 'string' }, code: { type: 'string' } },
  additionalProperties: true,
}

const SHARED = {
  400: 'A parameter is missing or bad; the sentence names it.',
  401: 'No valid bearer token.',
  413: 'The body is larger than this API reads.',
  429: 'This address failed to authenticate too often; Retry-After says for how long.',
  500: 'A mistake of the proxy; the log has more under the id given.',
} as const

/** Summary, parameters and answers in the shape that fastify takes as a route's `schema` and OpenAPI as an operation. */
export function describe(of: Route): {
  readonly summary: string
  readonly params: Schema
  readonly querystring: Schema
  readonly response: Readonly<Record<string, Schema>>
} {
  const places = pathNames(of.path)
  const inPath = Object.entries(of.parameters).filter(([name]) => places.includes(name))
  const inQuery = Object.entries(of.parameters).filter(([name]) => !places.includes(name))
  const response: Record<string, Schema> = {}
  for (const [status, description] of Object.entries(SHARED)) {
    if (of.open === true && (status === '401' || status === '429')) continue
    response[status] = answerSchema(description, FAILURE, true)
  }
  for (const [status, { description, json, text, stream, lines }] of Object.entries(of.answers)) {
    response[status] =
      stream === undefined
        ? answerSchema(description, json ?? FAILURE, text ?? true, lines)
        : { description, content: { [stream]: { schema: json ?? { type: 'string' } } } }
  }
  return { summary: of.summary, params: parametersSchema(inPath), querystring: parametersSchema(inQuery), response }
}

function parametersSchema(parameters: readonly (readonly [string, Parameter<unknown>])[]): Schema {
  return {
    type: 'object',
    properties: Object.fromEntries(parameters.map(([name, { schema, description }]) => [name, { ...schema, description }])),
    required: parameters.flatMap(([name, { required }]) => (required ? [name] : [])),
  }
}

function answerSchema(description: string, json: Schema, text: boolean, lines?: AnswerFacts['lines']): Schema {
  return {
    description,
    content: {
      'application/json': { schema: json },
      ...(text ? { 'text/plain': { schema: { type: 'string' } } } : {}),
      ...(lines === undefined ? {} : { [lines.type]: { schema: lines.json } }),
    },
  }
}

/** What a change's answer says of who has confirmed it (confirmation.ts). */
export const CONFIRMATION = {
  workers: { type: 'integer' },
  workers_expected: { type: 'integer' },
  peers: {
    type: 'array',
    items: {
      type: 'object',
      properties: { instance: { type: 'string' }, acknowledged: { type: 'boolean' } },
      required: ['instance', 'acknowledged'],
    },
  },
  unconfirmed: { type: 'array', items: { type: 'string' } },
  bus: { type: 'string', enum: ['none', 'up', 'down'] },
} as const

/** Answers that every confirmed change has: 200 with `facts` of its own, and 504. */
export function changeAnswers(description: string, facts: Readonly<Record<string, Schema>> = {}): RouteFacts['answers'] {
  return {
    200: {
      description,
      json: { type: 'object', required: ['result'], properties: { result: { type: 'string' }, ...facts, ...CONFIRMATION } },
    },
    503: { description: 'The mapping source, or a worker, could not be asked.' },
    504: {
      description: 'Committed, but not every worker of this instance has confirmed.',
      json: {
        type: 'object',
        required: ['error', 'code'],
        properties: { error: { type: 'string' }, code: { type: 'string' }, ...facts, ...CONFIRMATION },
      },
    },
  }
}

/** JSON Schema of an object that has all of these properties. */
export function objectOf(properties: Readonly<Record<string, Schema>>): Schema {
  return { type: 'object', required: Object.keys(properties), properties }
}
