/** Answers of the API as text for people: lists of objects as tables, the rest a name and a value a line. */
import { objects } from './talk.ts'
import { plain, table } from './terminal.ts'

type Json = Readonly<Record<string, unknown>>

/** Tables first named by their fields, then what stands beside them. */
export function showAll(json: Json): string {
  const parts: string[] = []
  const facts = Object.entries(json).filter(([, value]) => !isList(value))
  if (facts.length > 0) parts.push(table(facts.map(([name, value]) => [name.replaceAll('_', ' '), cell(value)])))
  for (const [name, value] of Object.entries(json)) {
    if (isList(value)) parts.push(`${name.replaceAll('_', ' ')}:\n${showList(value)}`)
  }
  return parts.join('\n')
}

/** A table with a heading; `none` when there is nothing. */
export function showList(value: unknown, columns?: readonly string[]): string {
  const rows = objects(value)
  if (rows.length === 0) return 'none\n'
  const names = columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return table([names.map((name) => name.replaceAll('_', ' ').toUpperCase()), ...rows.map((row) => names.map((name) => cell(row[name])))])
}

function isList(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === 'object' && one !== null)
}

function cell(value: unknown): string | number {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (value === null || value === undefined) return '-'
  if (typeof value === 'string') return plain(value)
  return Array.isArray(value) && value.every((one) => typeof one === 'string') ? plain(value.join(' ')) : plain(JSON.stringify(value))
}
