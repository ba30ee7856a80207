/** One question: how much memory does an idle session take without TLS? */
import { compareIdle, IDLE_FIGURES, IDLE_METHOD, idleGoals } from '../idle.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'How much memory does an idle session take without TLS?',
  method: IDLE_METHOD,
  figures: IDLE_FIGURES,
  goals: idleGoals(10),
  takes: { full: 44, quick: 13 },
  run: (bench) => compareIdle(bench, 'plain'),
}

export default question
