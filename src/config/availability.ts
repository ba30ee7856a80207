/**
 * What the schema knows but Signalbox cannot do yet. Such a key is refused when a file sets it: a setting that is
 * silently ignored would be worse than none. When a feature lands its line here goes, and nothing else changes; the
 * documentation marks what stands here.
 */
import { show, type Report } from './mistake.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

export interface NotYet {
  /** Path of the table in the schema. */
  readonly table: string
  /** The key in it; undefined: the whole table. */
  readonly key?: string
  /** Values that work already; undefined: none. */
  readonly except?: readonly (string | boolean)[]
}

export const NOT_YET: readonly NotYet[] = []

const MESSAGE = 'not available yet'

/** Refuses what is set and cannot be done yet. */
export function checkAvailability(tables: Tables, report: Report): void {
  for (const section of tables.present()) {
    const whole = NOT_YET.find((entry) => entry.table === section.definition.path && entry.key === undefined)
    if (whole !== undefined) {
      report.mistakes.push({ path: section.path(), message: MESSAGE })
      continue
    }
    for (const key of section.keysSet) checkKey(section, key, report)
  }
}

function checkKey(section: Section, key: string, report: Report): void {
  const entry = NOT_YET.find((candidate) => candidate.table === section.definition.path && candidate.key === key)
  if (entry === undefined) return
  const value = section.raw(key)
  // A value that is wrong in itself has been reported as such.
  if (value === undefined || entry.except?.some((good) => good === value) === true) return
  const allowed = entry.except?.map((good) => JSON.stringify(good)).join(', ')
  const mistake = { path: section.path(key), message: MESSAGE }
  if (allowed === undefined) report.mistakes.push(mistake)
  else report.mistakes.push({ ...mistake, found: show(value), allowed })
}
