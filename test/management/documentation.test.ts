import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { before, describe, test } from 'node:test'
import { describe as describeRoute } from '../../src/management/route.ts'
import type { Route } from '../../src/management/route.ts'
import { routes } from '../../src/management/server.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFile(new URL(path, root), 'utf8')

/** Statuses that http and the server give before a route is found. */
const BEFORE_ROUTES = ['404', '405', '408', '417', '431']
/** Paths of the Stalwart migration proxy 1.0. */
const ORIGINAL = [
  'GET /healthz', 'GET /stats', 'GET /destinations', 'POST /destinations/reset', 'GET /mappings', 'PUT /mappings', 'DELETE /mappings',
  'POST /mappings/reload', 'POST /cache/invalidate', 'POST /connections/kick', 'POST /connections/delay', 'POST /config/reload',
]

const title = ({ method, path }: Route) => `${method} ${path}`

/** First cells of the table whose head begins with `head`. */
function column(text: string, head: string): string[] {
  const lines = text.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`))
  if (start < 0) return []
  const end = lines.findIndex((line, index) => index > start && !line.startsWith('|'))
  return lines.slice(start + 2, end).map((line) => line.split('|')[1]?.trim() ?? '')
}

/** Names of all properties in a JSON Schema. */
function properties(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const own = 'properties' in schema && typeof schema.properties === 'object' && schema.properties !== null ? Object.entries(schema.properties) : []
  const items = 'items' in schema ? properties(schema.items) : []
  return [...own.flatMap(([name, inner]) => [name, ...properties(inner)]), ...items]
}

describe('docs/management.md', () => {
  let page = ''
  /** What comes before the first route. */
  let general = ''
  const sections = new Map<string, string>()

  before(async () => {
    page = await read('docs/management.md')
    const [start = '', ...rest] = page.split(/^### /m)
    general = start
    for (const section of rest) {
      const name = /^`([^`]+)`\n/.exec(section)?.[1]
      assert.ok(name !== undefined, `a section about a route: ${section.slice(0, 40)}`)
      sections.set(name, section.split(/^## /m)[0] ?? '')
    }
  })

  test('has a section for every route, in the order of the route table, and no other', () => {
    assert.deepEqual([...sections.keys()], routes.map(title))
  })

  for (const route of routes) {
    test(`tells of ${title(route)}: every status, parameter and field, and no others`, () => {
      const section = sections.get(title(route)) ?? ''
      assert.deepEqual(column(section, 'status'), Object.keys(route.answers))
      assert.deepEqual(column(section, 'parameter'), Object.keys(route.parameters).map((name) => `\`${name}\``))
      const fields = Object.values(route.answers).flatMap(({ json }) => properties(json))
      assert.deepEqual(fields.filter((field) => !`${general}${section}`.includes(`\`${field}\``)), [])
      const { parameters } = route
      for (const [name, { required }] of Object.entries(parameters)) {
        const row = section.split('\n').find((line) => line.startsWith(`| \`${name}\` |`)) ?? ''
        assert.equal(/\| optional\b/.test(row), !required, `${name}: ${row}`)
      }
      const alwaysJson = section.includes('JSON always')
      assert.equal(alwaysJson, route.answers[200]?.text === false)
      assert.match(section, /```sh\n[^`]+```\n```(text|json)\n[^`]+```/, 'an example with its answer')
    })
  }

  test('tells in one place of the statuses that every route shares', () => {
    const shared = routes
      .filter(({ open }) => open !== true)
      // One that a route has more to say of is shared all the same: a parameter may be bad there, too.
      .map((route) => Object.keys(describeRoute(route).response).filter((status) => !(status in route.answers) || status === '400'))
    for (const statuses of shared) {
      assert.deepEqual(new Set(column(general, 'status')), new Set([...statuses, ...BEFORE_ROUTES]))
    }
  })

  test('names every code that an answer may have', async () => {
    const apiCodes = /export type ApiCode =\n((?: {2}\| '\w+'\n)+)/.exec(await read('src/management/answer.ts'))?.[1] ?? ''
    const refusals = /const STATUS[^{]*\{\n((?: {2}\w+: \d+,\n)+)\}/.exec(await read('src/management/refusal.ts'))?.[1] ?? ''
    const codes = [...`${apiCodes}${refusals}`.matchAll(/\b[A-Z][A-Z_]+\b/g)].map(([code]) => code)
    assert.ok(codes.length > 20, 'the patterns find the codes')
    assert.deepEqual(codes.filter((code) => !page.includes(`\`${code}\``)), [])
  })
})

describe('docs/differences.md', () => {
  test('names every status that the original does not know, and every route of it that is not there', async () => {
    const section = /\*\*Management API\*\*[^]*?(?=\n\*\*)/.exec(await read('docs/differences.md'))?.[0] ?? ''
    const known = ['200', '400', '401', '404', '405', '429', '500']
    const statuses = new Set([...routes.flatMap((route) => Object.keys(describeRoute(route).response)), ...BEFORE_ROUTES])
    assert.deepEqual([...statuses].filter((status) => !known.includes(status) && !section.includes(`- ${status} `)), [])
    const there = new Set(routes.map(title))
    for (const path of ORIGINAL) assert.equal(section.includes(`\`${path}\` is not there yet`), !there.has(path), path)
    const added = routes.filter((route) => !ORIGINAL.includes(title(route))).map(({ path }) => path)
    assert.deepEqual(added.filter((path) => !section.includes(`\`${path}\``)), [])
  })
})
