/** Answers of the API as text for people: lists of objects as tables. */
import { objects } from './talk.ts'
import { plain, table } from './terminal.ts'

/** A table with a heading; `none` when there is nothing. */
export function showList(value: unknown, columns?: readonly string[]): string {
  const rows = objects(value)
  if (rows.length === 0) return 'none\n'
  const names = columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return table([names.map((name) => name.replaceAll('_', ' ').toUpperCase()), ...rows.map((row) => names.map((name) => cell(row[name])))])
}

function cell(value: unknown): string | number {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (value === null || value === undefined) return '-'
  if (typeof value === 'string') return plain(value)
  return Array.isArray(value) && value.every((one) => typeof one === 'string') ? plain(value.join(' ')) : plain(JSON.stringify(value))
}
