/**
 * Holds results against their goals, and against the ratios of an earlier run (a baseline). A ratio is formed in each
 * round, between two measurements of that round, and the median of the rounds decides: a machine that is slow for a
 * while is slow for both.
 */
import { earlierName } from './question.ts'
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

/** How much a ratio may grow before it is called a regression: two starts of the same program differ for minutes, however many rounds there are (seen: 5%). */
const TOLERANCE = 1.06
/** Rounds below which no regression is told. */
const FEWEST = 3
/**
 * A median's standard error is 0.93 of the distance between the quartiles over the root of the rounds (of what is spread as noise is);
 * what is 1.96 of it away is no chance, 19 times in 20.
 */
const UNSURE = 0.93 * 1.96

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
 * Ratios to the floor (or whatever a must names) that are worse than the baseline's by more than two starts of one program
 * differ, and by more than what is unsure of both medians: of that there is less with more rounds.
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

/** What the proxy costs beside an earlier state of it that was measured in the same rounds. */
export interface Beside {
  readonly question: string
  readonly goal: Goal
  readonly measured: Spread
  /** It costs more, beyond chance. */
  readonly dearer: boolean
}

/** Of two that ran side by side the ratio is surer than a comparison of two runs. */
export function besideEarlier(report: Report): Beside[] {
  return report.questions.flatMap((question) =>
    question.subjects.flatMap(({ name: subject }) => {
      const goal: Goal = { kind: 'must', subject, figure: 'cpu', of: earlierName(subject), most: 1 }
      const values = goalValues(question, goal)
      return values.length === 0 ? [] : [{ question: question.name, goal, measured: spread(values), dearer: isWorse(goal, [1], values) }]
    }),
  )
}

function isWorse(goal: Goal, before: readonly number[], now: readonly number[]): boolean {
  // Of so few nothing can be said.
  if (now.length < FEWEST) return false
  const [then, today] = [spread(before), spread(now)]
  const unsure = Math.hypot(uncertainty(then), uncertainty(today))
  if (goal.most !== undefined) return today.median > then.median * TOLERANCE && today.median - then.median > unsure
  return today.median < then.median / TOLERANCE && then.median - today.median > unsure
}

function uncertainty({ lowerQuartile, upperQuartile, rounds }: Spread): number {
  return (UNSURE * (upperQuartile - lowerQuartile)) / Math.sqrt(rounds)
}

/** The figure, or its ratio, round by round. */
function goalValues(question: QuestionResult, { subject, figure, of }: Goal): number[] {
  const values = everyRound(question, subject, figure)
  return (of === undefined ? values : ratios(values, everyRound(question, of, figure))).filter(Number.isFinite)
}

/** A subject's figure round by round; rounds without it are left out. */
export function figureValues(question: QuestionResult, subject: string, figure: string): number[] {
  return everyRound(question, subject, figure).filter(Number.isFinite)
}

/** NaN where a round is without it: rounds are compared by their numbers. */
function everyRound(question: QuestionResult, subject: string, figure: string): number[] {
  const rounds = question.subjects.find(({ name }) => name === subject)?.rounds ?? []
  return rounds.map((figures) => figures[figure] ?? Number.NaN)
}
