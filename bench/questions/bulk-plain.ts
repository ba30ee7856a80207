/** One question: what does a large transfer cost without TLS? */
import { BULK_FIGURES, bulkGoals, BULK_METHOD, compareBulk } from '../bulk.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a large transfer cost without TLS?',
  method: BULK_METHOD,
  figures: BULK_FIGURES,
  goals: bulkGoals(0.8),
  takes: { full: 20, quick: 6 },
  against: true,
  run: (bench) => compareBulk(bench, 'plain'),
}

export default question
