/** What ManageSieve clients are told before a login (RFC 5804 §1.7), held against a backend's list. */
import type { Claims } from '../protocol.ts'

export const manageSieveClaims: Claims = {
  key: 'capabilities.managesieve.sieve',
  claimed: ({ managesieve }) => managesieve.sieve,
  offered: (capabilities) => wordsBehind(capabilities, 'SIEVE'),
  mechanisms: (capabilities) => wordsBehind(capabilities, 'SASL').map((name) => name.toUpperCase()),
}

function wordsBehind(capabilities: readonly string[], name: string): readonly string[] {
  const line = capabilities.find((candidate) => candidate.split(' ')[0]?.toUpperCase() === name)
  return line?.split(' ').slice(1).filter((word) => word !== '') ?? []
}
