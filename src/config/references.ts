/**
 * How tables refer to each other by name: which destinations are declared, which protocols they have legs for, which
 * protocols listeners serve.
 */
import type { Report } from './mistake.ts'
import { show } from './mistake.ts'
import { nearest } from './nearest.ts'
import { PROTOCOLS } from './schema-listener.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

/** Protocols that carry credentials before a bridge and are routed by account. */
export const ACCOUNT_PROTOCOLS = ['imap', 'pop3', 'managesieve', 'submission'] as const

/** Legs of a destination. */
export function legsOf(tables: Tables, destination: string): readonly Section[] {
  return tables.all('destination.<name>.protocol.<protocol>').filter((leg) => leg.names[0] === destination)
}

export function hasLeg(tables: Tables, destination: string, protocol: string): boolean {
  return legsOf(tables, destination).some((leg) => leg.name === protocol)
}

/** Protocols of which there is a listener. */
export function servedProtocols(tables: Tables): ReadonlySet<string> {
  const served = tables.all('listener.<name>').map((listener) => listener.choice('protocol', PROTOCOLS))
  return new Set(served.filter((protocol) => protocol !== undefined))
}

/**
 * Whether a key names a declared destination; says so when it doesn't.
 * @returns the name when it does
 */
export function declaredDestination(tables: Tables, section: Section, key: string, report: Report): string | undefined {
  const name = section.text(key)
  if (name === undefined) return undefined
  const declared = tables.all('destination.<name>').map((destination) => destination.name)
  if (declared.includes(name)) return name
  const near = nearest(name, declared)
  const mistake = { path: section.path(key), message: 'no such destination', found: show(name) }
  const allowed = declared.length === 0 ? 'none is declared' : declared.slice(0, 20).join(', ')
  report.mistakes.push(near === undefined ? { ...mistake, allowed } : { ...mistake, suggestion: near })
  return undefined
}
