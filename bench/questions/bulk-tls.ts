/** One question: what does a large transfer cost with TLS between client and proxy? */
import { BULK_FIGURES, bulkGoals, BULK_METHOD, compareBulk } from '../bulk.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a large transfer cost with TLS between client and proxy?',
  method: BULK_METHOD,
  figures: BULK_FIGURES,
  goals: bulkGoals(1),
  takes: { full: 32, quick: 6 },
  against: true,
  run: (bench) => compareBulk(bench, 'client'),
}

export default question
