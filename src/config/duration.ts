/**
 * Durations (`30s`) and sizes (`64kb`) as the configuration writes them. Whole numbers only: a fraction of a unit is
 * written in the next smaller one. A number without a unit is refused for durations, because no reader could tell
 * seconds from milliseconds; for sizes it means bytes.
 */

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const BYTES: Readonly<Record<string, number>> = { '': 1, kb: 1_024, mb: 1_048_576 }

/** The longest that a timer of the runtime can wait (2^31 - 1 ms, 24.8 days): above it timers fire at once. */
export const LONGEST_TIMER = 2_147_483_647

/** A parsed quantity, or the reason why it is none. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string }

/** Milliseconds of `30s`; fails on anything but a whole number with one of the units ms, s, m, h, d. */
export function parseDuration(text: string): Parsed<number> {
  const match = /^(\d+)([a-z]*)$/i.exec(text)
  if (match === null) return { ok: false, reason: 'not a whole number with a unit' }
  const unit = match[2] ?? ''
  if (unit === '') return { ok: false, reason: 'the unit is missing' }
  return scale(match[1] ?? '', Object.hasOwn(MILLISECONDS, unit) ? MILLISECONDS[unit] : undefined, unit)
}

/** Bytes of `65536`, `64kb` or `256mb` (1 kb = 1024 bytes). */
export function parseSize(text: string): Parsed<number> {
  const match = /^(\d+) ?([a-z]*)$/i.exec(text)
  if (match === null) return { ok: false, reason: 'not a whole number of bytes' }
  const unit = (match[2] ?? '').toLowerCase()
  return scale(match[1] ?? '', Object.hasOwn(BYTES, unit) ? BYTES[unit] : undefined, unit)
}

/** `90s` of 90000: the largest unit that leaves a whole number. */
export function durationText(milliseconds: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const factor = MILLISECONDS[unit] ?? 1
    if (milliseconds >= factor && milliseconds % factor === 0) return `${milliseconds / factor}${unit}`
  }
  return `${milliseconds}ms`
}

function scale(digits: string, factor: number | undefined, unit: string): Parsed<number> {
  if (factor === undefined) return { ok: false, reason: `unknown unit "${unit.slice(0, 20)}"` }
  const value = Number(digits) * factor
  if (!Number.isSafeInteger(value)) return { ok: false, reason: 'too large' }
  return { ok: true, value }
}
