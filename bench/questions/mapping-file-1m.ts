/** One question: what does a mapping file of a million lines cost? */
import { FILE_FIGURES, FILE_GOALS, measureFile } from '../file-cost.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a mapping file of a million lines cost?',
  method: 'One process with the source as the primary has it: load, bring into order, look up, change one, change a thousand at once. Once, not in rounds.',
  figures: FILE_FIGURES,
  goals: FILE_GOALS,
  takes: { full: 4, quick: 2 },
  run: (bench) => measureFile(bench, bench.quick ? 200_000 : 1_000_000),
}

export default question
