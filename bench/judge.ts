/**
 * Holds results against their goals, and against the ratios of an earlier run (a baseline). A ratio is formed in each
 * round, between two measurements of that round, and the median of the rounds decides: a machine that is slow for a
 * while is slow for both.
 */
import type { Goal } from './question.ts'
import type { QuestionResult, Report } from './result.ts'
import { ratios, spread } from './statistics.ts'
import type { Spread } from './statistics.ts'

export interface Verdict {
  readonly question: string
  readonly goal: Goal
  /** The ratio or the figure over the rounds; undefined: not measured. */
  readonly measured: Spread | undefined
  readonly met: boolean | undefined
  /** Of measurements that are missing: why. */
  readonly why?: string
}

/** A ratio that has grown since the baseline. */
export interface Regression {
  readonly question: string
  readonly goal: Goal
  readonly before: Spread
  readonly now: Spread
}

/** How much a ratio may grow before it is called a regression, times the root of the rounds: 6.5% with six, 2.5% with forty-one. */
const TOLERANCE = 0.16
/** Half the notch of a box plot: medians whose notches don't touch differ, with 19 chances in 20. */
const NOTCH = 1.57

export function verdicts(report: Report): Verdict[] {
  return report.questions.flatMap((question) => question.goals.map((goal) => judge(question, goal)))
}

export function judge(question: QuestionResult, goal: Goal): Verdict {
  const base = { question: question.name, goal }
  const values = goalValues(question, goal)
  if (values.length === 0) {
    const absent = question.missing.find(({ subject }) => subject === goal.subject || subject === goal.of)
    return { ...base, measured: undefined, met: undefined, why: absent?.why ?? question.failure ?? 'not measured' }
  }
  const measured = spread(values)
  const met = (goal.most === undefined || measured.median <= goal.most) && (goal.least === undefined || measured.median >= goal.least)
  return { ...base, measured, met }
}

/**
 * Ratios to the floor (or whatever a must names) that are worse than the baseline's by more than rounds differ on a quiet
 * machine, and clearly so for those that were measured: what the medians may be, then and now, doesn't touch. The more
 * rounds, the smaller the loss that is seen.
 */
export function regressions(report: Report, baseline: Report): Regression[] {
  return report.questions.flatMap((question) => {
    const before = baseline.questions.find(({ name }) => name === question.name)
    if (before === undefined) return []
    return question.goals.flatMap((goal) => {
      if (goal.kind !== 'must' || goal.of === undefined) return []
      const earlier = goalValues(before, goal)
      const values = goalValues(question, goal)
      if (earlier.length === 0 || values.length === 0) return []
      return isWorse(goal, earlier, values) ? [{ question: question.name, goal, before: spread(earlier), now: spread(values) }] : []
    })
  })
}

function isWorse(goal: Goal, before: readonly number[], now: readonly number[]): boolean {
  const [then, today] = [spread(before), spread(now)]
  const tolerance = 1 + TOLERANCE / Math.sqrt(Math.min(before.length, now.length))
  const unsure = notch(then, before.length) + notch(today, now.length)
  if (goal.most !== undefined) return today.median > then.median * tolerance && today.median - then.median > unsure
  return today.median < then.median / tolerance && then.median - today.median > unsure
}

function notch({ lowerQuartile, upperQuartile }: Spread, rounds: number): number {
  return (NOTCH * (upperQuartile - lowerQuartile)) / Math.sqrt(rounds)
}

/** The figure, or its ratio, round by round. */
function goalValues(question: QuestionResult, { subject, figure, of }: Goal): number[] {
  const values = figureValues(question, subject, figure)
  return of === undefined ? values : ratios(values, figureValues(question, of, figure))
}

/** A subject's figure round by round; rounds without it are left out. */
export function figureValues(question: QuestionResult, subject: string, figure: string): number[] {
  const rounds = question.subjects.find(({ name }) => name === subject)?.rounds ?? []
  return rounds.flatMap((figures) => {
    const value = figures[figure]
    return value === undefined || !Number.isFinite(value) ? [] : [value]
  })
}
