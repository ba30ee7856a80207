/**
 * Certificates for tests, made at run time: a certificate authority and what it signs, good or deliberately wrong.
 * P-256 throughout, so that a test file that needs a handful starts in milliseconds.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { generate } from 'selfsigned'

const DAY_MS = 86_400_000

/** PEM texts. */
export interface Issued {
  readonly cert: string
  readonly key: string
}

export interface LeafOptions {
  /** Host names or addresses; the first one is the common name. */
  readonly names: readonly string[]
  /** Valid from and until, in days from now. Defaults: yesterday, and in 30 days. */
  readonly fromDays?: number
  readonly untilDays?: number
  readonly client?: boolean
}

export interface Authority extends Issued {
  issue(options: LeafOptions): Promise<Issued>
}

/** A certificate authority of its own. */
export async function makeAuthority(name = 'Test CA'): Promise<Authority> {
  const made = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(Date.now() - 10 * DAY_MS),
    notAfterDate: new Date(Date.now() + 30 * DAY_MS),
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, digitalSignature: true, critical: true },
    ],
  })
  const ca = { cert: made.cert, key: made.private }
  return { ...ca, issue: (options) => makeLeaf(options, ca) }
}

/** A leaf signed by itself. */
export function makeSelfSigned(options: LeafOptions): Promise<Issued> {
  return makeLeaf(options, undefined)
}

/** A leaf of a proper authority that ended yesterday. */
export function makeExpired(authority: Authority, name: string): Promise<Issued> {
  return authority.issue({ names: [name], fromDays: -5, untilDays: -1 })
}

/** The SHA-256 of the certificate as a pin is written in the configuration: 64 lower-case hex digits. */
export function pinOf(cert: string): string {
  return createHash('sha256').update(new X509Certificate(cert).raw).digest('hex')
}

async function makeLeaf(options: LeafOptions, ca: Issued | undefined): Promise<Issued> {
  const made = await generate([{ name: 'commonName', value: options.names[0] ?? 'localhost' }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notBeforeDate: new Date(Date.now() + (options.fromDays ?? -1) * DAY_MS),
    notAfterDate: new Date(Date.now() + (options.untilDays ?? 30) * DAY_MS),
    ...(ca === undefined ? {} : { ca }),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', ...(options.client === true ? { clientAuth: true } : { serverAuth: true }) },
      {
        name: 'subjectAltName',
        altNames: options.names.map((name) => (isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name })),
      },
    ],
  })
  return { cert: made.cert, key: made.private }
}
