/** The questions as data: nothing is measured here. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { loadQuestion, QUESTIONS } from '../../bench/ask.ts'
import type { Question } from '../../bench/question.ts'

const names = readdirSync(QUESTIONS).map((file) => file.replace(/\.ts$/, ''))
const questions: readonly (readonly [name: string, question: Question])[] = await Promise.all(
  names.map(async (name) => [name, await loadQuestion(name)] as const),
)

test('each question asks something, and holds only figures that it has against bounds', () => {
  assert.ok(questions.length > 20)
  for (const [name, { title, method, figures, goals }] of questions) {
    assert.match(title, /^[A-Z].*\?$/, name)
    assert.match(method, /\.$/, name)
    assert.notEqual(Object.keys(figures).length, 0, name)
    for (const goal of goals) {
      assert.ok(Object.hasOwn(figures, goal.figure), `${name}: ${goal.figure}`)
      assert.ok(goal.most !== undefined || goal.least !== undefined, `${name}: a goal without a bound`)
    }
  }
})

test('no two questions have one title', () => {
  assert.equal(new Set(questions.map(([, { title }]) => title)).size, questions.length)
})

test('by their own word all questions end within twenty minutes, and a quick run within three, with room to spare', () => {
  const sum = (kind: 'full' | 'quick'): number => questions.reduce((seconds, [, { takes }]) => seconds + takes[kind], 0)
  for (const [name, { takes }] of questions) assert.ok(takes.full > 0 && takes.full >= takes.quick, name)
  assert.ok(sum('full') <= 1_150, `${sum('full')} s`)
  assert.ok(sum('quick') <= 160, `${sum('quick')} s`)
})
