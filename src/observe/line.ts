/**
 * The shape of one log line on its way out. Primary and workers write to one descriptor; only pieces of at most
 * LOG_LINE bytes (PIPE_BUF) are never mixed up by the kernel, so a longer line is shortened here, still as valid JSON,
 * and says so with `truncated`. For a terminal, escapes inside strings are doubled, so that what a stranger sent is shown
 * rather than obeyed.
 */
import { LOG_LINE } from '../limits.ts'

/** The line itself when it fits into `limit` bytes (line break included), else a shorter one with `"truncated":true`. */
export function fitLine(line: string, limit = LOG_LINE): string {
  // Three bytes is the most that one UTF-16 unit takes in UTF-8: most lines are settled without counting.
  if (line.length * 3 <= limit || Buffer.byteLength(line) <= limit) return line
  const record: unknown = JSON.parse(line)
  for (const text of [512, 128, 32]) {
    const shorter = `${JSON.stringify({ ...asRecord(shorten(record, text, 4)), truncated: true })}\n`
    if (Buffer.byteLength(shorter) <= limit) return shorter
  }
  const { time, level, event } = asRecord(shorten(record, 32, 1))
  return `${JSON.stringify({ time, level, event, msg: 'a log line was too long', truncated: true })}\n`
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

/** Cuts strings to `text` characters and lists to 16 members, and leaves out what lies deeper than `depth`. */
function shorten(value: unknown, text: number, depth: number): unknown {
  if (typeof value === 'string') return value.length <= text ? value : `${value.slice(0, text)}…`
  if (typeof value !== 'object' || value === null) return value
  if (depth === 0) return '…'
  if (Array.isArray(value)) return value.slice(0, 16).map((member) => shorten(member, text, depth - 1))
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, shorten(member, text, depth - 1)]))
}

/** A JSON line whose strings show their control characters as text even after they were parsed. */
export function showEscapes(line: string): string {
  return line
    .replace(/\\(u[0-9a-f]{4}|.)/gi, (whole, escape: string) => ('"\\/'.includes(escape) ? whole : `\\\\${escape}`))
    .replace(/[\u007f-\u009f\u2028\u2029]/g, (c) => `\\\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
