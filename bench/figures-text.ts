/** Numbers and goals in words, the same in the table, the page and the document. */
import type { Beside, Regression, Verdict } from './judge.ts'
import type { FigureKind, Goal } from './question.ts'
import type { QuestionResult } from './result.ts'
import type { Spread } from './statistics.ts'

/** Three digits that count, thousands parted: 0.58, 12.3, 125, 4,210. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  const digits = size >= 100 || value === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** The median, and the least and greatest round. */
export function spreadText({ median, least, most, rounds }: Spread): string {
  return rounds === 1 ? numberText(median) : `${numberText(median)} (${numberText(least)}–${numberText(most)})`
}

export function headText({ label, unit }: FigureKind): string {
  return unit === '' ? label : `${label}, ${unit}`
}

/** "CPU per session of Signalbox, kernel at most 1.15 × floor, kernel". */
export function goalText({ figures }: QuestionResult, { subject, figure, of, most, least }: Goal): string {
  const kind = figures[figure]
  const bound = (word: string, value: number): string =>
    of === undefined ? `${word} ${numberText(value)}${kind === undefined || kind.unit === '' ? '' : ` ${kind.unit}`}` : `${word} ${value.toFixed(2)} × ${of}`
  const bounds = [...(most === undefined ? [] : [bound('at most', most)]), ...(least === undefined ? [] : [bound('at least', least)])]
  return `${kind?.label ?? figure} of ${subject}: ${bounds.join(' and ')}`
}

/** What was measured against a goal: a ratio has two digits behind the point. */
export function measuredText({ goal, measured, why }: Verdict): string {
  if (measured === undefined) return why ?? 'not measured'
  if (goal.of === undefined) return spreadText(measured)
  return ratioText(measured)
}

export function ratioText({ median, least, most }: Spread): string {
  return `${median.toFixed(2)} (${least.toFixed(2)}–${most.toFixed(2)})`
}

export function verdictWord({ met, goal }: Verdict): string {
  if (met === undefined) return 'not measured'
  return met ? 'met' : goal.kind === 'must' ? 'FALLS SHORT' : 'not met'
}

export function regressionText({ question, goal, before, now }: Regression): string {
  return `${question}: ${goal.figure} of ${goal.subject} was ${ratioText(before)} × ${goal.of ?? ''}, is ${ratioText(now)}`
}

export function besideText({ question, goal, measured }: Beside): string {
  return `${question}: ${goal.figure} of ${goal.subject} is ${ratioText(measured)} × ${goal.of ?? ''}`
}
