/** A report as one page that needs nothing else: tables, charts, verdicts; light or dark as the reader has it. */
import { barChart, escapeHtml } from './chart.ts'
import type { Bar } from './chart.ts'
import { besideText, goalText, headText, measuredText, regressionText, spreadText, verdictWord } from './figures-text.ts'
import { besideEarlier, figureValues, judge, verdicts } from './judge.ts'
import type { Regression } from './judge.ts'
import { machineLines } from './report-text.ts'
import type { QuestionResult, Report } from './result.ts'
import { spread } from './statistics.ts'

const STYLE = `
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2024; --faint: #667; --line: #dde; --proxy: #2563a8; --floor: #8aa9c8; --peer: #b9bec6; --good: #17703c; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e6e8ea; --faint: #9aa3ad; --line: #2c3238; --proxy: #6aa9e9; --floor: #45688c; --peer: #59616b; --good: #6cc492; --bad: #ff8a80 } }
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin: 2.5rem 0 .3rem; border-top: 1px solid var(--line); padding-top: 1.2rem } h3 { font-size: .95rem; margin: 1rem 0 .2rem }
p { margin: .3rem 0 } .faint { color: var(--faint) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .87rem; margin: .6rem 0 } th, td { padding: .2rem .7rem .2rem 0; text-align: left; vertical-align: top; white-space: nowrap } thead th { border-bottom: 1px solid var(--line); font-weight: 600 } td.words { white-space: normal }
td + td, th + th { font-variant-numeric: tabular-nums }
.met { color: var(--good) } .missed { color: var(--bad); font-weight: 600 }
svg { width: 100%; max-width: 720px; height: auto; font: 12px system-ui, sans-serif } svg text { fill: var(--ink) } svg .value { fill: var(--faint) }
svg .proxy { fill: var(--proxy) } svg .floor { fill: var(--floor) } svg .peer { fill: var(--peer) } svg .off { opacity: .6 } svg .spread { stroke: var(--ink); stroke-width: 1.5; opacity: .7 }
`

export function reportHtml(report: Report, grown: readonly Regression[] = []): string {
  const all = verdicts(report)
  const count = (kind: string, word: (met: boolean | undefined) => boolean): number => all.filter(({ goal, met }) => goal.kind === kind && word(met)).length
  const summary = (['must', 'goal'] as const).map((kind) => {
    const missed = count(kind, (met) => met === false)
    return `${count(kind, (met) => met === true)} ${kind}s met, <span class="${missed === 0 ? 'met' : 'missed'}">${missed} not</span>, ${count(kind, (met) => met === undefined)} not measured`
  })
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Signalbox: what it costs</title>
<style>${STYLE}</style>
<h1>What it costs</h1>
${machineLines(report).map((line) => `<p class="faint">${escapeHtml(line)}</p>`).join('\n')}
<p>${summary.join('; ')}.</p>
${grown.map((regression) => `<p class="missed">Regression: ${escapeHtml(regressionText(regression))}</p>`).join('\n')}
${besideEarlier(report).map((beside) => `<p class="${beside.dearer ? 'missed' : 'met'}">${escapeHtml(besideText(beside))}</p>`).join('\n')}
<p class="faint">Figures are medians over the rounds, with the least and the greatest. Ratios are formed in each round.</p>
${report.questions.map(section).join('\n')}
</html>
`
}

function section(question: QuestionResult): string {
  const charted = Object.entries(question.figures).filter(([, kind], index) => index === 0 || kind.chart === true)
  const charts = charted.map(([figure, kind]) => {
    const bars = question.subjects.flatMap(({ name }): Bar[] => {
      const values = figureValues(question, name, figure)
      return values.length === 0 ? [] : [{ name, spread: spread(values), role: roleOf(name) }]
    })
    const head = headText(kind)
    return bars.length === 0 ? '' : `<h3>${escapeHtml(head)} <span class="faint">(${kind.better} is better)</span></h3>\n${barChart(head, bars)}`
  })
  const extra = [...question.missing.map(({ subject, why }) => `${subject}: ${why}.`), ...question.notes]
  return `<h2 id="${escapeHtml(question.name)}">${escapeHtml(question.title)}</h2>
<p class="faint">${escapeHtml(question.method)}</p>
${question.failure === undefined ? '' : `<p class="missed">It came to no end: ${escapeHtml(question.failure)}</p>`}
${charts.join('\n')}
${figureTable(question)}
${extra.map((line) => `<p class="faint">${escapeHtml(line)}</p>`).join('\n')}
${goalTable(question)}`
}

function figureTable(question: QuestionResult): string {
  const kinds = Object.entries(question.figures)
  const rows = question.subjects.map(({ name }) => {
    const cells = kinds.map(([figure]) => {
      const values = figureValues(question, name, figure)
      return `<td>${values.length === 0 ? '' : spreadText(spread(values))}</td>`
    })
    return `<tr><td>${escapeHtml(name)}</td>${cells.join('')}</tr>`
  })
  const head = kinds.map(([, kind]) => `<th>${escapeHtml(headText(kind))}</th>`)
  return `<div class="wide"><table><thead><tr><th></th>${head.join('')}</tr></thead>\n${rows.join('\n')}</table></div>`
}

function goalTable(question: QuestionResult): string {
  if (question.goals.length === 0) return ''
  const rows = question.goals.map((goal) => {
    const verdict = judge(question, goal)
    const cell = `<td class="${verdict.met === true ? 'met' : verdict.met === false ? 'missed' : 'faint'}">${escapeHtml(verdictWord(verdict))}</td>`
    return `<tr><td>${goal.kind}</td><td class="words">${escapeHtml(goalText(question, goal))}</td>${cell}<td>${escapeHtml(measuredText(verdict))}</td><td class="words faint">${escapeHtml(goal.text ?? '')}</td></tr>`
  })
  return `<div class="wide"><table>${rows.join('\n')}</table></div>`
}

function roleOf(name: string): Bar['role'] {
  return name.startsWith('Signalbox') ? 'proxy' : name.startsWith('floor') ? 'floor' : 'peer'
}
