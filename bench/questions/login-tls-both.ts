/** One question: what does a login cost when both legs are encrypted? */
import { compareLogins, LOGIN_FIGURES, loginGoals } from '../login.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a login cost with TLS on both legs?',
  method:
    'As with TLS on the client\'s leg, 64 in flight; the backend\'s certificate is verified. Who keeps sessions to the backend and resumes them (Signalbox, the floor, HAProxy) may do so.',
  figures: LOGIN_FIGURES,
  goals: [
    ...loginGoals({ kernel: 1.5, primary: 1.5 }),
    { kind: 'goal', subject: 'Signalbox, kernel', figure: 'cpu', of: 'Dovecot', most: 0.8 },
    { kind: 'goal', subject: 'Signalbox, kernel', figure: 'cpu', of: 'HAProxy', most: 1.1 },
  ],
  takes: { full: 120, quick: 25 },
  against: true,
  run: (bench) => compareLogins(bench, { legs: 'both', concurrency: 64 }),
}

export default question
