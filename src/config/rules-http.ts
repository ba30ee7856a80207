/** Rules of http routes: where they lead, and that extract has what its source needs. */
import { RE2JS } from 're2js'
import { pathText, type Report } from './mistake.ts'
import { declaredDestination, hasLeg } from './references.ts'
import { EXTRACT_FROM } from './schema-http.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

/** The key that each source needs. */
const NEEDS: Readonly<Record<(typeof EXTRACT_FROM)[number], string | undefined>> = {
  authorization: undefined,
  query: 'param',
  header: 'header',
  body: 'regex',
}

export function checkHttpRules(tables: Tables, report: Report): void {
  const routes = tables.all('http.route[]')
  let toDefault = false
  for (const route of routes) {
    const extract = tables.all('http.route[].extract').find((candidate) => candidate.names[0] === route.names[0])
    const extracts = extract?.present === true
    if (extracts) {
      checkExtract(extract, report)
      toDefault = true
    }
    if (extracts === route.isSet('destination')) {
      const message = extracts ? 'a route has a destination or extract, not both' : 'a route needs a destination or extract'
      report.mistakes.push({ path: route.path(), message })
    }
    if (!extracts && route.isSet('fallback')) {
      report.mistakes.push(
        { path: route.path('fallback'), message: 'belongs to extract, which this route does not have' },
      )
    }
    checkTarget(tables, route, 'destination', report)
    if (route.text('fallback') !== 'default') checkTarget(tables, route, 'fallback', report)
  }
  const fallback = tables.one('routing').text('default_destination')
  const declared = tables.all('destination.<name>').some((destination) => destination.name === fallback)
  if (toDefault && fallback !== undefined && declared && !hasLeg(tables, fallback, 'http')) {
    const message = 'the default destination needs this leg, because a route can lead to it'
    report.mistakes.push({ path: pathText(['destination', fallback, 'protocol', 'http']), message })
  }
  const serves = tables.all('listener.<name>').some((listener) => listener.text('protocol') === 'http')
  if (serves && routes.length === 0) {
    report.warnings.push(
      'There is an http listener but no [[http.route]]: every request is answered 404.',
    )
  }
}

function checkTarget(tables: Tables, route: Section, key: string, report: Report): void {
  const name = declaredDestination(tables, route, key, report)
  if (name === undefined || hasLeg(tables, name, 'http')) return
  report.mistakes.push(
    { path: route.path(key), message: `the destination ${JSON.stringify(name)} declares no http leg` },
  )
}

function checkExtract(extract: Section, report: Report): void {
  const from = extract.choice('from', EXTRACT_FROM)
  if (from === undefined) return
  const needed = NEEDS[from]
  if (needed !== undefined && !extract.isSet(needed)) {
    report.mistakes.push({ path: extract.path(needed), message: `must be set, because from is "${from}"` })
  }
  const regex = from === 'body' ? extract.text('regex') : undefined
  const wrong = regex === undefined ? undefined : patternMistake(regex)
  if (wrong !== undefined) report.mistakes.push({ path: extract.path('regex'), message: wrong })
  for (const key of ['param', 'header', 'regex']) {
    if (key === needed || !extract.isSet(key)) continue
    report.mistakes.push({ path: extract.path(key), message: `means nothing when from is "${from}"` })
  }
}

/** Why RE2 doesn't take a pattern, or that it has nothing to give; undefined: it is sound. */
function patternMistake(pattern: string): string | undefined {
  try {
    return RE2JS.compile(pattern).groupCount() > 0 ? undefined : 'has no group'
  } catch (thrown) {
    return `RE2 does not take it: ${thrown instanceof Error ? thrown.message : String(thrown)}`
  }
}
