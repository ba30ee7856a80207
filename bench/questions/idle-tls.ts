/** One question: how much memory does an idle session take with TLS between client and proxy? */
import { compareIdle, IDLE_FIGURES, IDLE_METHOD, idleGoals } from '../idle.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'How much memory does an idle session take with TLS between client and proxy?',
  method: IDLE_METHOD,
  figures: IDLE_FIGURES,
  goals: idleGoals(45),
  takes: { full: 64, quick: 0 },
  run: (bench) => compareIdle(bench, 'client'),
}

export default question
