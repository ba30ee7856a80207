import assert from 'node:assert/strict'
import { test } from 'node:test'
import { besideEarlier, judge, regressions } from '../../bench/judge.ts'
import type { Goal } from '../../bench/question.ts'
import { questionOf, reportOf } from './rounds.ts'

const MUST: Goal = { kind: 'must', subject: 'Signalbox', figure: 'cpu', of: 'floor', most: 1.15 }

test('a ratio is judged by the median of the rounds, not by the ratio of the medians', () => {
  // The machine is three times as slow in two rounds: medians alone would compare unlike rounds.
  const slow = questionOf({ floor: [100, 300, 100, 300, 100], Signalbox: [110, 330, 110, 330, 330] }, [MUST])
  const verdict = judge(slow, MUST)
  assert.equal(verdict.met, true)
  assert.ok(Math.abs((verdict.measured?.median ?? 0) - 1.1) < 1e-9)
})

test('a must beyond its ratio is not met', () => {
  assert.equal(judge(questionOf({ floor: [100, 100, 100], Signalbox: [116, 117, 110] }), MUST).met, false)
})

test('an absolute bound is held against the median figure, in both directions', () => {
  const question = questionOf({ Signalbox: [9, 10, 11] })
  assert.equal(judge(question, { kind: 'goal', subject: 'Signalbox', figure: 'cpu', most: 10 }).met, true)
  assert.equal(judge(question, { kind: 'goal', subject: 'Signalbox', figure: 'cpu', least: 10.5 }).met, false)
})

test('what was not measured is neither met nor missed, and says why', () => {
  const question = questionOf({ Signalbox: [1] }, [], { missing: [{ subject: 'nginx mail', why: 'not installed' }] })
  const verdict = judge(question, { kind: 'goal', subject: 'Signalbox', figure: 'cpu', of: 'nginx mail', most: 1 })
  assert.equal(verdict.met, undefined)
  assert.equal(verdict.why, 'not installed')
})

test('a figure that is no number is no measurement', () => {
  assert.equal(judge(questionOf({ floor: [1], Signalbox: [Number.NaN] }), MUST).met, undefined)
})

test('20 µs more a login are seen against a baseline even where the must has room for them', () => {
  const baseline = reportOf(questionOf({ floor: [200, 202, 198, 201, 199], Signalbox: [200, 204, 197, 200, 203] }, [MUST]))
  const now = reportOf(questionOf({ floor: [201, 199, 200, 203, 198], Signalbox: [222, 219, 221, 224, 217] }, [MUST]))
  assert.equal(judge(now.questions[0] ?? questionOf({}), MUST).met, true)
  assert.equal(regressions(now, baseline).length, 1)
})

test('the more rounds, the smaller the loss that is seen', () => {
  const rounds = (median: number, count: number): number[] => Array.from({ length: count }, (_, index) => median + 10 * (((index * 8) % 21) - 10))
  const floor = (count: number): number[] => Array.from({ length: count }, () => 500)
  const run = (median: number, count: number) => reportOf(questionOf({ floor: floor(count), Signalbox: rounds(median, count) }, [MUST]))
  assert.equal(regressions(run(620, 7), run(560, 7)).length, 0)
  assert.equal(regressions(run(620, 42), run(560, 42)).length, 1)
})

test('what two starts of one program differ by is no regression, however many rounds there are', () => {
  const run = (cpu: number) => reportOf(questionOf({ floor: Array.from({ length: 400 }, () => 500), Signalbox: Array.from({ length: 400 }, () => cpu) }, [MUST]))
  assert.equal(regressions(run(590), run(560)).length, 0)
  assert.equal(regressions(run(600), run(560)).length, 1)
})

test('beside an earlier state: what costs more, round by round and beyond chance, is a regression', () => {
  // Rounds that differ by a fifth, as on a machine that others share.
  const noisy = (median: number, count: number): number[] => Array.from({ length: count }, (_, index) => median * (0.8 + ((index * 17) % 41) / 100))
  const beside = (now: number, before: number, count: number) =>
    besideEarlier(reportOf(questionOf({ 'Signalbox, kernel': noisy(now, count), 'Signalbox, kernel, before': Array.from({ length: count }, () => before) })))
  assert.deepEqual(beside(440, 400, 400).map(({ dearer }) => dearer), [true])
  assert.deepEqual(beside(440, 400, 5).map(({ dearer }) => dearer), [false])
  assert.deepEqual(beside(420, 400, 400).map(({ dearer }) => dearer), [false])
  assert.deepEqual(beside(380, 400, 400).map(({ dearer }) => dearer), [false])
  assert.deepEqual(besideEarlier(reportOf(questionOf({ floor: [1], Signalbox: [9] }, [MUST]))), [])
})

test('of fewer than three rounds no regression is told', () => {
  const run = (cpu: number) => reportOf(questionOf({ floor: [100, 100], Signalbox: [cpu, cpu] }, [MUST]))
  assert.deepEqual(regressions(run(200), run(100)), [])
})

test('a round without a figure is left out of the ratios, and the others keep their pairs', () => {
  const question = questionOf({ floor: [100, 100, 300], Signalbox: [110, Number.NaN, 330] })
  const { measured } = judge(question, MUST)
  assert.equal(measured?.rounds, 2)
  assert.ok(Math.abs((measured?.most ?? 0) - 1.1) < 1e-9)
})

test('what rounds differ by is no regression', () => {
  const baseline = reportOf(questionOf({ floor: [200, 202, 198], Signalbox: [200, 204, 197] }, [MUST]))
  const quiet = reportOf(questionOf({ floor: [201, 199, 200], Signalbox: [208, 206, 207] }, [MUST]))
  const wild = reportOf(questionOf({ floor: [200, 200, 200, 200, 200], Signalbox: [180, 190, 215, 280, 300] }, [MUST]))
  const wider = reportOf(questionOf({ floor: [200, 200, 200, 200, 200], Signalbox: [170, 180, 200, 225, 230] }, [MUST]))
  const within = reportOf(questionOf({ floor: [200, 200, 200, 200, 200], Signalbox: [208, 220, 222, 240, 250] }, [MUST]))
  assert.deepEqual(regressions(quiet, baseline), [])
  assert.deepEqual(regressions(wild, baseline), [])
  assert.deepEqual(regressions(within, wider), [])
})

test('a question that the baseline lacks is not compared', () => {
  assert.deepEqual(regressions(reportOf(questionOf({ floor: [1], Signalbox: [9] }, [MUST])), reportOf()), [])
})
