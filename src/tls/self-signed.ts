/**
 * A certificate for the first start, when none is configured: P-256, signed by itself, for a year. Nobody can verify
 * it, which is why the start warns; it lives in memory only and is another one after each start.
 */
import { isIP } from 'node:net'
import { systemClock, type Clock } from '../clock.ts'
import type { KeyPair } from './certificates.ts'

const YEAR_MS = 366 * 86_400_000
/** Clients' clocks run late, too. */
const EARLY_MS = 3_600_000

/**
 * Makes a certificate for `names` (host names or addresses; the first one is the common name, none: localhost).
 */
export async function selfSigned(names: readonly string[], clock: Clock = systemClock): Promise<KeyPair> {
  // Two hundred modules that most starts can do without.
  const { generate } = await import('selfsigned')
  const subjects = names.length > 0 ? names : ['localhost']
  const made = await generate([{ name: 'commonName', value: subjects[0] ?? 'localhost' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(clock.wall() - EARLY_MS),
    notAfterDate: new Date(clock.wall() + YEAR_MS),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: subjects.map((name) => (isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name })),
      },
    ],
  })
  return { cert: made.cert, key: made.private }
}
