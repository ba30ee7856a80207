/** One question: how much memory does an idle session take with TLS on both legs? */
import { compareIdle, IDLE_FIGURES, IDLE_METHOD, idleGoals } from '../idle.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'How much memory does an idle session take with TLS on both legs?',
  method: IDLE_METHOD,
  figures: IDLE_FIGURES,
  goals: idleGoals(85),
  takes: { full: 76, quick: 0 },
  run: (bench) => compareIdle(bench, 'both'),
}

export default question
