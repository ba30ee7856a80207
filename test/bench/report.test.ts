import assert from 'node:assert/strict'
import { test } from 'node:test'
import { barChart } from '../../bench/chart.ts'
import { BEGIN, END, withMeasured } from '../../bench/document.ts'
import { numberText } from '../../bench/figures-text.ts'
import { reportHtml } from '../../bench/report-html.ts'
import { reportText, verdictText } from '../../bench/report-text.ts'
import { spread } from '../../bench/statistics.ts'
import type { Goal } from '../../bench/question.ts'
import { questionOf, reportOf } from './rounds.ts'

const MUST: Goal = { kind: 'must', subject: 'Signalbox', figure: 'cpu', of: 'floor', most: 1.15 }

test('numbers have the digits that count', () => {
  assert.deepEqual([0, 0.0456, 0.58, 1.234, 12.34, 125.4, 4210].map(numberText), ['0', '0.046', '0.580', '1.23', '12.3', '125', '4,210'])
})

test('the table shows median and range, who is missing and what failed', () => {
  const text = reportText(reportOf(questionOf({ floor: [100, 120, 110] }, [], { missing: [{ subject: 'nginx mail', why: 'not installed' }], failure: 'it broke' })))
  assert.match(text, /floor +110 \(100–120\)/)
  assert.match(text, /nginx mail: not installed/)
  assert.match(text, /FAILED: it broke/)
})

test('verdicts name what falls short before what is met', () => {
  const met: Goal = { ...MUST, most: 2 }
  const lines = verdictText(reportOf(questionOf({ floor: [100], Signalbox: [130] }, [met, MUST])), []).split('\n')
  assert.match(lines[1] ?? '', /must +FALLS SHORT .* at most 1\.15 × floor +1\.30/)
  assert.match(lines[2] ?? '', /must +met .* at most 2\.00 × floor/)
})

test('the page is whole in itself and lets no name break out of its markup', () => {
  const evil = '<script>alert("1")</script>'
  const page = reportHtml(reportOf(questionOf({ [evil]: [1, 2] }, [], { title: evil, method: evil, notes: [evil], failure: evil, missing: [{ subject: evil, why: evil }] })))
  assert.ok(!page.includes('<script'))
  assert.ok(page.includes('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;'))
  assert.doesNotMatch(page, /(?:src|href)=|https?:|@import|url\(/)
  assert.match(page, /<svg/)
  assert.match(page, /prefers-color-scheme: dark/)
})

test('a bar that dwarfs the others runs off the chart and says so', () => {
  const chart = barChart('CPU', [10, 12, 900].map((value, index) => ({ name: `${index}`, spread: spread([value]), role: 'peer' as const })))
  assert.match(chart, /900 →/)
  const widths = [...chart.matchAll(/width="([\d.]+)" height="14"/g)].map(([, width]) => Number(width))
  assert.ok((widths[0] ?? 0) > 50, 'the others are still to be seen')
})

test('a page gets its figures between the marks and keeps all else', () => {
  const page = `# Title\n\n${BEGIN}\nold\n${END}\n\nThe end.\n`
  const report = reportOf(questionOf({ floor: [100], Signalbox: [110] }, [MUST]))
  const made = withMeasured(page, report)
  assert.ok(made.startsWith(`# Title\n\n${BEGIN}\n`) && made.endsWith(`${END}\n\nThe end.\n`))
  assert.doesNotMatch(made, /old/)
  assert.match(made, /\| Signalbox \| 110 \|/)
  assert.match(made, /\| must \| .* at most 1\.15 × floor \| 1\.10 .* \| met \|/)
  assert.equal(withMeasured(made, report), made)
  assert.throws(() => withMeasured('# Title\n', report), /must hold the lines/)
})
