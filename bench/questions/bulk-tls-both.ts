/** One question: what does a large transfer cost with TLS on both legs? */
import { BULK_FIGURES, bulkGoals, BULK_METHOD, compareBulk } from '../bulk.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a large transfer cost with TLS on both legs?',
  method: BULK_METHOD,
  figures: BULK_FIGURES,
  goals: bulkGoals(1.35),
  takes: { full: 34, quick: 0 },
  against: true,
  run: (bench) => compareBulk(bench, 'both'),
}

export default question
