/** Results as the harness makes them, small ones, for tests of what is made from them. */
import type { Goal } from '../../bench/question.ts'
import type { QuestionResult, Report } from '../../bench/result.ts'

/** A question with one figure, "cpu" in µs: a list of rounds per subject. */
export function questionOf(subjects: Readonly<Record<string, readonly number[]>>, goals: readonly Goal[] = [], more: Partial<QuestionResult> = {}): QuestionResult {
  return {
    name: 'login-plain',
    title: 'What does a login cost?',
    method: 'Logins.',
    figures: { cpu: { label: 'CPU per session', unit: 'µs', better: 'less' } },
    goals,
    subjects: Object.entries(subjects).map(([name, rounds]) => ({ name, rounds: rounds.map((cpu) => ({ cpu })) })),
    missing: [],
    notes: [],
    seconds: 1,
    ...more,
  }
}

export function reportOf(...questions: readonly QuestionResult[]): Report {
  return {
    made: '2026-11-23T02:00:00.000Z',
    quick: false,
    seconds: 60,
    seededRegression: 0,
    machine: { processor: 'A processor', cores: 2, memoryGb: 16, system: 'Linux 6.1', load: 0.1, versions: { 'Node.js': '26.0.0' } },
    questions,
  }
}
