/** What POP3 clients are told before a login (CAPA, RFC 2449), held against a backend's list. */
import type { Claims } from '../protocol.ts'

/** The proxy's own to say. */
const OWN: ReadonlySet<string> = new Set(['SASL', 'USER', 'STLS', 'IMPLEMENTATION', 'XCLIENT'])

export const pop3Claims: Claims = {
  key: 'capabilities.pop3.capa',
  claimed: ({ pop3 }) => pop3.capa.map(nameOf),
  offered: (capabilities) => capabilities.map(nameOf).filter((name) => !OWN.has(name.toUpperCase())),
  mechanisms: (capabilities) => {
    const sasl = capabilities.find((line) => nameOf(line).toUpperCase() === 'SASL')?.split(' ').slice(1) ?? []
    // A backend from before CAPA has nothing but USER and PASS.
    const user = capabilities.length === 0 || capabilities.some((line) => nameOf(line).toUpperCase() === 'USER')
    return [...sasl.map((name) => name.toUpperCase()), ...(user ? ['password'] : [])]
  },
}

function nameOf(line: string): string {
  return line.split(' ')[0] ?? line
}
