/** A report as text for a terminal: a table per question, then what was held against it. */
import { besideText, goalText, headText, measuredText, regressionText, spreadText, verdictWord } from './figures-text.ts'
import { besideEarlier, figureValues, verdicts } from './judge.ts'
import type { Regression } from './judge.ts'
import type { QuestionResult, Report } from './result.ts'
import { spread } from './statistics.ts'

export function reportText(report: Report): string {
  return [...machineLines(report), '', ...report.questions.map(questionText)].join('\n')
}

export function machineLines({ machine, made, quick, seconds, seededRegression }: Report): string[] {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`)
  return [
    `${made.slice(0, 16).replace('T', ' ')} UTC${quick ? ', a quick run' : ''}, ${Math.round(seconds)} s`,
    `${machine.processor}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}; load before the run ${machine.load.toFixed(2)}`,
    versions.join(', '),
    ...(seededRegression === 0 ? [] : [`SEEDED: ${seededRegression} µs of work were added to each connection on purpose`]),
  ]
}

export function questionText(question: QuestionResult): string {
  const kinds = Object.entries(question.figures)
  const head = ['', ...kinds.map(([, kind]) => headText(kind))]
  const rows = question.subjects.map(({ name }) => [
    name,
    ...kinds.map(([figure]) => {
      const values = figureValues(question, name, figure)
      return values.length === 0 ? '' : spreadText(spread(values))
    }),
  ])
  const extra = [...question.missing.map(({ subject, why }) => `${subject}: ${why}`), ...question.notes]
  if (question.failure !== undefined) extra.push(`FAILED: ${question.failure}`)
  return [`${question.name}: ${question.title}`, ...table([head, ...rows]), ...extra.map((line) => `  ${line}`), ''].join('\n')
}

/** Musts, goals and regressions, those that fall short first. */
export function verdictText(report: Report, grown: readonly Regression[]): string {
  const rank = (word: string): number => ['FALLS SHORT', 'not met', 'not measured', 'met'].indexOf(word)
  const rows = verdicts(report)
    .map((verdict) => {
      const question = report.questions.find(({ name }) => name === verdict.question)
      const text = question === undefined ? '' : goalText(question, verdict.goal)
      return [verdict.goal.kind, verdictWord(verdict), verdict.question, text, measuredText(verdict), verdict.goal.text ?? '']
    })
    .sort(([, one = ''], [, other = '']) => rank(one) - rank(other))
  const earlier = besideEarlier(report)
  // Beside an earlier state nobody else is measured.
  const lines = earlier.length > 0 ? earlier.map((beside) => `${beside.dearer ? 'REGRESSION ' : ''}${besideText(beside)}`) : table([['', '', '', '', 'measured', ''], ...rows])
  return [...lines, ...grown.map((regression) => `REGRESSION ${regressionText(regression)}`)].join('\n')
}

/** Columns as wide as their widest cell; the first cell of a row stands left, numbers right. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length)
  const numeric = (index: number): boolean => rows.slice(1).every((row) => /^(?:[–\d]|$)/.test(row[index] ?? ''))
  const right = widths.map((_, index) => index > 0 && numeric(index))
  return rows.map((row) =>
    `  ${row.map((cell, index) => (right[index] === true ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0))).join('  ')}`.trimEnd(),
  )
}
