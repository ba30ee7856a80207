/** One question: what does a login without TLS cost? */
import { compareLogins, LOGIN_FIGURES, loginGoals } from '../login.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a login cost, without TLS?',
  method: 'Sessions of greeting, LOGIN, OK, LOGOUT and close, 64 in flight. HAProxy reads no login and routes no account.',
  figures: LOGIN_FIGURES,
  goals: [
    ...loginGoals({ kernel: 1.8, primary: 1.85 }),
    { kind: 'goal', subject: 'Signalbox, kernel', figure: 'cpu', of: 'nginx mail', most: 0.9 },
    { kind: 'goal', subject: 'Signalbox, kernel', figure: 'cpu', of: 'Dovecot', most: 0.7 },
    { kind: 'goal', subject: 'Signalbox, primary', figure: 'cpu', of: 'nginx mail', most: 1.3 },
    { kind: 'goal', subject: 'Signalbox, primary', figure: 'cpu', of: 'Dovecot', most: 1 },
  ],
  takes: { full: 122, quick: 24 },
  against: true,
  run: (bench) => compareLogins(bench, { legs: 'plain', concurrency: 64 }),
}

export default question
