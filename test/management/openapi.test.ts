/**
 * The description of the API, checked as a document and then believed: a client that knows nothing but the document asks a
 * running server. Every status that is documented must be seen, none that isn't, and every JSON answer must fit its schema.
 */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import { SignalboxError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { misfits, schemaMistakes } from '../support/json-schema.ts'
import { TestManagement } from '../support/management.ts'
import type { Reply } from '../support/management.ts'

interface Parameter {
  readonly name: string
  readonly in: 'query' | 'path'
  readonly required: boolean
  readonly schema: Readonly<Record<string, unknown>>
}
interface Operation {
  readonly method: string
  readonly path: string
  readonly operationId: string
  readonly security: readonly unknown[] | undefined
  readonly parameters: readonly Parameter[]
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content: Readonly<Record<string, { readonly schema: unknown }>> }>>
}
interface Document {
  readonly openapi: string
  readonly info: Readonly<Record<string, unknown>>
  readonly paths: Readonly<Record<string, Readonly<Record<string, Omit<Operation, 'method' | 'path'>>>>>
}

/** A mistake of ours: what it looks like is another test's business, here it must not be seen. */
const NEVER = new Set([500])
/** What takes a body made for it, or a store that is full: test/management/bulk.test.ts and cutover.test.ts. */
const SEEN_ELSEWHERE = new Set([
  'POST /mappings/import 415', 'POST /mappings/import 422', 'POST /mappings/import 507', 'POST /accounts/cutover 409', 'POST /accounts/cutover 415', 'POST /accounts/cutover 502',
])
/** What the operations may answer with; each is tried with every request. */
const CODES: readonly ErrorCode[] = [
  'SOURCE_CONFLICT', 'SOURCE_READ_ONLY', 'SOURCE_UNAVAILABLE', 'SOURCE_TIMEOUT', 'SOURCE_WRITE', 'ROUTE_UNAVAILABLE',
  'BUS_DOWN', 'BUS_PEER_LACKS', 'ACTOR_DEADLINE', 'DRAINING',
]

let api: TestManagement
let document: Document
let operations: readonly Operation[] = []

before(async () => {
  api = await TestManagement.start({ lockoutThreshold: 1_000_000 })
  const reply = await api.ask('GET', '/openapi.json')
  assert.equal(reply.status, 200)
  document = reply.json as Document
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ ...operation, security: operation.security, method: method.toUpperCase(), path })),
  )
})
after(() => api.stop())
beforeEach(calm)

function calm(): void {
  const { operations } = api
  operations.failure = undefined
  operations.current = 'ready'
  operations.confirmation = { workers: 2, workersExpected: 2, peers: [], bus: 'none' }
  operations.reload = undefined
}

const title = ({ method, path }: Operation): string => `${method} ${path}`

/** The request target with these values, encoded. */
function target({ path, parameters }: Operation, values: ReadonlyMap<string, string>): string {
  const query = parameters.flatMap(({ name, in: where }) => (where === 'query' && values.has(name) ? [`${name}=${encodeURIComponent(values.get(name) ?? '')}`] : []))
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values.get(name) ?? ''))
  return `${filled}${query.length === 0 ? '' : `?${query.join('&')}`}`
}

/** What fits a parameter's schema, and is known where names are meant. */
function good({ name, schema }: Parameter): fc.Arbitrary<string> {
  if (Array.isArray(schema['enum'])) return fc.constantFrom(...schema['enum'].map(String))
  if (name === 'destination') return fc.constantFrom('old', 'new')
  if (name === 'instance') return fc.constantFrom('two', 'three')
  if (schema['type'] === 'integer') return fc.integer({ min: Number(schema['minimum'] ?? 1), max: Math.min(Number(schema['maximum'] ?? 100), 100) }).map(String)
  if (typeof schema['pattern'] === 'string') return fc.integer({ min: 0, max: 59 }).map((count) => `${count}s`)
  return fc.stringMatching(/^[a-z]{1,8}$/).map((user) => `${user}@example.com`)
}

/** What may stand there: what fits, what is unknown, and what nobody would take. */
function any(parameter: Parameter): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 4, arbitrary: good(parameter) },
    fc.constantFrom('', '0', '-1', '99999999999999999999', 'nobody', 'nowhere', 'one', '__proto__', 'x'.repeat(600), 'a\u0000b', 'a\r\nb', '%'),
    fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.toWellFormed()),
  )
}

function values(operation: Operation, of: (parameter: Parameter) => fc.Arbitrary<string>, whole: boolean): fc.Arbitrary<ReadonlyMap<string, string>> {
  const entries = operation.parameters.map((parameter) => {
    const present = whole ? fc.constant(true) : fc.boolean()
    return fc.tuple(fc.constant(parameter.name), present, of(parameter))
  })
  return fc.tuple(...entries).map((all) => new Map(all.flatMap(([name, present, value]) => (present ? [[name, value] as const] : []))))
}

/** Checks an answer against the document; `strict` also that its status is documented. */
function check(operation: Operation, reply: Reply, strict: boolean, note: (status: number) => void): void {
  const documented = operation.responses[String(reply.status)]
  const where = `${title(operation)} ${reply.status}: ${reply.text.slice(0, 300)}`
  assert.notEqual(reply.status, 500, where)
  if (documented === undefined) {
    // A path whose parameter is empty is another path.
    const anotherPath = [404, 405].includes(reply.status) && operation.path.includes('{')
    if (strict && !anotherPath) assert.ok(false, `not documented: ${where}`)
    return
  }
  note(reply.status)
  const type = String(reply.headers['content-type']).replace('; charset=utf-8', '')
  const content = documented.content[type]
  assert.ok(content !== undefined, `${type} is not documented: ${where}`)
  if (reply.json !== undefined) assert.deepEqual(misfits(reply.json, content.schema), [], where)
}

describe('GET /openapi.json', () => {
  test('is OpenAPI 3.1: every operation has a name of its own, its path’s parameters, and answers with descriptions and schemas', () => {
    assert.match(document.openapi, /^3\.1\.\d+$/)
    assert.deepEqual(Object.keys(document).sort(), ['components', 'info', 'openapi', 'paths', 'security', 'servers'])
    assert.ok(['title', 'version'].every((name) => typeof document.info[name] === 'string'))
    const wrong: string[] = []
    const names = new Set<string>()
    for (const operation of operations) {
      const name = title(operation)
      if (!/^\/[a-z./{}]*$/.test(operation.path)) wrong.push(`${name}: path`)
      if (names.has(operation.operationId)) wrong.push(`${name}: ${operation.operationId} twice`)
      names.add(operation.operationId)
      const places = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, place]) => place)
      const inPath = operation.parameters.filter(({ in: where }) => where === 'path')
      if (String(places) !== String(inPath.map((one) => one.name))) wrong.push(`${name}: parameters of its path`)
      for (const parameter of operation.parameters) {
        if (parameter.in === 'path' && !parameter.required) wrong.push(`${name}: ${parameter.name} must be required`)
        wrong.push(...schemaMistakes(parameter.schema, `${name} ${parameter.name}`))
      }
      if (operation.responses['200'] === undefined) wrong.push(`${name}: no 200`)
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        if (!/^[1-5]\d\d$/.test(status) || description === '') wrong.push(`${name} ${status}`)
        if (Object.keys(content).length === 0) wrong.push(`${name} ${status}: no content`)
        for (const { schema } of Object.values(content)) wrong.push(...schemaMistakes(schema, `${name} ${status}`))
      }
    }
    assert.deepEqual(wrong, [])
    assert.ok(operations.length >= 20)
  })

  test('says where no token is needed', () => {
    assert.deepEqual(operations.filter(({ security }) => security !== undefined).map(title), ['GET /healthz', 'GET /metrics'])
  })
})

describe('a client that believes the document', () => {
  const seen = new Map<string, Set<number>>()
  const note = (operation: Operation) => (status: number) => {
    const statuses = seen.get(title(operation)) ?? new Set<number>()
    seen.set(title(operation), statuses.add(status))
  }
  const accept = (json: boolean) => (json ? { headers: { accept: 'application/json' } } : {})
  /** The same request with a body larger than any route takes, of which no byte is sent. */
  const large = async ({ method }: Operation, path: string): Promise<Reply> => {
    const head = [`${method} ${path} HTTP/1.1`, 'Host: localhost', `Authorization: Bearer ${api.token}`, 'Content-Length: 3000000000', 'Connection: close']
    const socket = await api.connect()
    let text = ''
    socket.on('error', () => {})
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    // Some answers come while the body is still awaited.
    for await (const chunk of socket) {
      text += String(chunk)
      if (text.includes('\r\n\r\n')) break
    }
    socket.destroy()
    const type = /^content-type: (.*)\r$/im.exec(text)?.[1] ?? ''
    return { status: Number(text.split(' ')[1]), headers: { 'content-type': type }, text, json: undefined }
  }
  /** Streams of events never end by themselves. */
  const asked = () => operations.filter(({ responses }) => !Object.keys(responses['200']?.content ?? {}).includes('text/event-stream'))

  test('gets no 500 and no status that is not documented, whatever it sends', async () => {
    for (const operation of asked()) {
      // A name that nobody has, where everything else is as it should be.
      const [given = new Map<string, string>()] = fc.sample(values(operation, good, true), 1)
      for (const { name } of operation.parameters) {
        const reply = await api.ask(operation.method, target(operation, new Map([...given, [name, 'nowhere']])))
        check(operation, reply, true, note(operation))
      }
      // What is right in all its parameters, each of them with both of its names more than once.
      for (const right of fc.sample(values(operation, good, true), 10)) {
        check(operation, await api.ask(operation.method, target(operation, right)), true, note(operation))
      }
      await fc.assert(
        fc.asyncProperty(values(operation, any, false), fc.boolean(), fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)), async (given, json, authorized) => {
          const reply = await api.ask(operation.method, target(operation, given), { ...accept(json), ...(authorized ? {} : { token: null }) })
          check(operation, reply, true, note(operation))
        }),
        { numRuns: 20 },
      )
    }
    assert.deepEqual(api.lines.filter(({ event }) => event === 'management_failed'), [])
  })

  test('gets what is documented when the instance cannot do its part', async () => {
    for (const operation of asked()) {
      const [given = new Map<string, string>()] = fc.sample(values(operation, good, true), 1)
      const ask = async (strict: boolean) => {
        for (const json of [true, false]) check(operation, await api.ask(operation.method, target(operation, given), accept(json)), strict, note(operation))
      }
      for (const code of CODES) {
        api.operations.failure = new SignalboxError(code, 'as the test says')
        // Not every room can fail in every way.
        await ask(code === 'ACTOR_DEADLINE' && operation.responses['503'] !== undefined)
      }
      calm()
      api.operations.confirmation = { workers: 1, workersExpected: 2, peers: [{ instance: 'two', acknowledged: false }], bus: 'down' }
      await ask(true)
      calm()
      api.operations.current = 'draining'
      api.operations.reload = { ok: false, message: 'mistakes', mistakes: [{ line: 1, message: 'bad' }] }
      await ask(true)
      calm()
    }
  })

  test('is refused what every route refuses: no token, too many of them, a body that is too large', async () => {
    const strict = await TestManagement.start({ lockoutThreshold: 1 })
    try {
      for (const operation of asked()) {
        const [given = new Map<string, string>()] = fc.sample(values(operation, good, true), 1)
        check(operation, await api.ask(operation.method, target(operation, given), { token: null }), true, note(operation))
        check(operation, await large(operation, target(operation, given)), true, note(operation))
        check(operation, await api.ask(operation.method, `${target(operation, given).split('?')[0]}?%zz=1`), true, note(operation))
        await strict.ask('GET', '/stats', { token: 'wrong' })
        check(operation, await strict.ask(operation.method, target(operation, given)), true, note(operation))
      }
    } finally {
      await strict.stop()
    }
  })

  test('has seen every status of every operation', () => {
    const missing = asked().flatMap((operation) =>
      Object.keys(operation.responses)
        .map(Number)
        .filter((status) => !NEVER.has(status) && seen.get(title(operation))?.has(status) !== true)
        .map((status) => `${title(operation)} ${status}`)
        .filter((one) => !SEEN_ELSEWHERE.has(one)),
    )
    assert.deepEqual(missing, [])
  })
})
