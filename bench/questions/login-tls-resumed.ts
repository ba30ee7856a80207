/** One question: what does a login cost when the client resumes its TLS session? */
import { compareLogins, LOGIN_FIGURES, loginGoals } from '../login.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a login cost when the client takes up an earlier TLS session?',
  method:
    'TLS 1.3 on the client\'s leg, 64 in flight; each of them offers the ticket of its last session. Workers that share no ticket keys resume fewer.',
  figures: { ...LOGIN_FIGURES, resumed: { label: 'handshakes resumed', unit: '%', better: 'more' } },
  goals: loginGoals({ kernel: 1.6 }),
  takes: { full: 74, quick: 0 },
  against: true,
  run: (bench) => compareLogins(bench, { legs: 'client', concurrency: 64, resume: true }),
}

export default question
