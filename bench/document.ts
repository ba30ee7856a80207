/**
 * The measured part of a documentation page, made from a report: what stands between two marks is replaced, all else is
 * the page's own.
 */
import { goalText, headText, measuredText, spreadText, verdictWord } from './figures-text.ts'
import { figureValues, judge } from './judge.ts'
import { machineLines } from './report-text.ts'
import type { QuestionResult, Report } from './result.ts'
import { spread } from './statistics.ts'

export const BEGIN = '<!-- measured: made by npm run bench -- --document -->'
export const END = '<!-- end of what was measured -->'

/** @throws when the page lacks the marks */
export function withMeasured(page: string, report: Report): string {
  const begin = page.indexOf(BEGIN)
  const end = page.indexOf(END)
  if (begin === -1 || end < begin) throw new Error(`the page must hold the lines ${BEGIN} and ${END}`)
  return `${page.slice(0, begin + BEGIN.length)}\n\n${measuredMarkdown(report)}\n${page.slice(end)}`
}

export function measuredMarkdown(report: Report): string {
  return [`${machineLines(report).join('. ')}.`, '', 'Medians of the rounds, with the least and the greatest.', '', ...report.questions.map(section)].join('\n')
}

function section(question: QuestionResult): string {
  const kinds = Object.entries(question.figures)
  const head = ['', ...kinds.map(([, kind]) => headText(kind))]
  const rows = question.subjects.map(({ name }) => [
    name,
    ...kinds.map(([figure]) => {
      const values = figureValues(question, name, figure)
      return values.length === 0 ? '' : spreadText(spread(values))
    }),
  ])
  const goals = question.goals.map((goal) => {
    const verdict = judge(question, goal)
    return [goal.kind, goalText(question, goal), measuredText(verdict), verdictWord(verdict).toLowerCase()]
  })
  const notes = [...question.missing.map(({ subject, why }) => `${subject}: ${why}.`), ...question.notes]
  return [
    `### ${question.title}`,
    '',
    question.method,
    '',
    ...markdownTable([head, ...rows]),
    ...(notes.length === 0 ? [] : ['', notes.join(' ')]),
    ...(goals.length === 0 ? [] : ['', ...markdownTable([['', 'goal', 'measured', ''], ...goals])]),
    '',
  ].join('\n')
}

function markdownTable([head = [], ...rows]: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)]
}
