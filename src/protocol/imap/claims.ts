/** What IMAP clients are told before a login (RFC 9051 §6.1.1), held against a backend's list. */
import type { Claims } from '../protocol.ts'

/** The proxy's own to say. */
const OWN = /^(STARTTLS|LOGINDISABLED|AUTH=.*)$/i

export const imapClaims: Claims = {
  key: 'capabilities.imap.advertise',
  claimed: ({ imap }) => imap.advertise,
  offered: (capabilities) => {
    const names = capabilities.filter((name) => !OWN.test(name))
    // LITERAL+ can do all that LITERAL- promises (RFC 7888 §5).
    return names.some((name) => name.toUpperCase() === 'LITERAL+') ? [...names, 'LITERAL-'] : names
  },
  mechanisms: (capabilities) => {
    const upper = capabilities.map((name) => name.toUpperCase())
    const mechanisms = upper.filter((name) => name.startsWith('AUTH=')).map((name) => name.slice('AUTH='.length))
    return upper.includes('LOGINDISABLED') ? mechanisms : [...mechanisms, 'password']
  },
}
