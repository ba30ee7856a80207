/** One question: what does a login cost when the client's leg is encrypted? */
import { compareLogins, LOGIN_FIGURES, loginGoals } from '../login.ts'
import type { Question } from '../question.ts'

const question: Question = {
  title: 'What does a login cost over TLS 1.3 with a P-256 certificate?',
  method:
    'As without TLS, with a full handshake each time between client and proxy. 256 in flight for all, because nginx lets a TLS login wait 40 ms (it does not set TCP_NODELAY there) and would else be idle.',
  figures: LOGIN_FIGURES,
  goals: [
    ...loginGoals({ kernel: 1.7, primary: 1.7 }),
    { kind: 'goal', subject: 'Signalbox, kernel', figure: 'cpu', of: 'nginx mail', most: 1 },
    { kind: 'goal', subject: 'Signalbox, kernel', figure: 'cpu', of: 'Dovecot', most: 0.7 },
    { kind: 'goal', subject: 'Signalbox, primary', figure: 'cpu', of: 'nginx mail', most: 1.3 },
    { kind: 'goal', subject: 'Signalbox, primary', figure: 'cpu', of: 'Dovecot', most: 1 },
  ],
  takes: { full: 140, quick: 25 },
  against: true,
  run: (bench) => compareLogins(bench, { legs: 'client', concurrency: 256 }),
}

export default question
