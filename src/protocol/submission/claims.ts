/** What submission clients are told in answer to EHLO (RFC 5321 §4.1.1.1), held against a backend's answer. */
import type { Claims } from '../protocol.ts'

/** The proxy's own to say, and what is between servers only. */
const OWN: ReadonlySet<string> = new Set(['AUTH', 'STARTTLS', 'XCLIENT', 'XFORWARD'])

export const submissionClaims: Claims = {
  key: 'capabilities.submission.ehlo',
  claimed: ({ submission }) => submission.ehlo.map(nameOf),
  offered: (capabilities) => capabilities.map(nameOf).filter((name) => !OWN.has(name) && !name.startsWith('AUTH=')),
  mechanisms: (capabilities) => {
    const auth = capabilities.find((line) => nameOf(line) === 'AUTH')
    return auth?.toUpperCase().split(' ').slice(1).filter((name) => name !== '') ?? []
  },
}

function nameOf(line: string): string {
  return (line.split(' ')[0] ?? line).toUpperCase()
}
