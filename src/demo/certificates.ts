/**
 * The demo's certificates: an authority that lives as long as the demo, and one leaf for 127.0.0.1 and localhost, which
 * the proxy and both mail servers present. P-256, because that is what a proxy should be given in earnest.
 */
import { generate } from 'selfsigned'

export interface DemoCertificates {
  /** PEM of the authority, for clients and for the proxy's own legs. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

const DAY_MS = 86_400_000

export async function makeDemoCertificates(now: number): Promise<DemoCertificates> {
  // An hour of slack backwards: a clock set right during the demo must not make it invalid.
  const validity = { notBeforeDate: new Date(now - 3_600_000), notAfterDate: new Date(now + 7 * DAY_MS) }
  const shared = { ...validity, keyType: 'ec', curve: 'P-256', algorithm: 'sha256' } as const
  const ca = await generate([{ name: 'commonName', value: 'Signalbox demo authority' }], {
    ...shared,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  })
  const leaf = await generate([{ name: 'commonName', value: 'localhost' }], {
    ...shared,
    ca: { key: ca.private, cert: ca.cert },
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }, { type: 7, ip: '127.0.0.1' }] },
    ],
  })
  return { ca: ca.cert, cert: leaf.cert, key: leaf.private }
}
