/** One question: what does a mapping file of ten million lines cost? */
import { FILE_FIGURES, FILE_GOALS, measureFile, SUBJECT } from '../file-cost.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a mapping file of ten million lines cost?',
  method: 'One process with the source as the primary has it: load, bring into order, look up, change one, change a thousand at once. Once, not in rounds.',
  figures: FILE_FIGURES,
  goals: [
    ...FILE_GOALS,
    { kind: 'goal', subject: SUBJECT, figure: 'load', most: 6 },
    { kind: 'goal', subject: SUBJECT, figure: 'memory', most: 1.5 },
    { kind: 'goal', subject: SUBJECT, figure: 'put', most: 4 },
  ],
  takes: { full: 28, quick: 0 },
  async run(bench) {
    if (bench.quick) bench.note('not in a quick run')
    else await measureFile(bench, 10_000_000)
  },
}

export default question
