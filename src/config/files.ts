/**
 * The small files that a configuration names: certificates, keys, CA bundles, the token. Read once, at load, and
 * bounded; what cannot be read or does not fit together is a mistake at the key that names it. Paths are relative to
 * the working directory, as in the Stalwart migration proxy. Only regular files are opened: a FIFO would block.
 */
import { open } from 'node:fs/promises'
import { constants } from 'node:fs'
import { X509Certificate, createPrivateKey, type KeyObject } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { certificatesIn } from '../authorities.ts'
import type { Report } from './mistake.ts'
import type { Section } from './section.ts'

/** Larger than any chain or bundle of CAs. */
const LARGEST = 4 * 1_048_576

/** A certificate that was read, with the names that it serves by itself. */
export interface CertificateFiles {
  readonly cert: string
  readonly key: string
  /** Lower-case names: its SANs of type DNS, else its CN; none: empty. */
  readonly subjects: readonly string[]
}

/** Reads the file that a key names. Undefined: the key is unset or wrong, or the file can't be read (reported). */
export async function readNamedFile(section: Section, key: string, report: Report): Promise<Buffer | undefined> {
  const path = section.text(key)
  return path === undefined ? undefined : readPath(path, section.path(key), report)
}

/** `key` is the path of what names the file, for the mistake. */
async function readPath(path: string, key: string, report: Report): Promise<Buffer | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const status = await file.stat()
      if (!status.isFile()) throw new Error('not a regular file')
      if (status.size > LARGEST) throw new Error(`larger than ${LARGEST} bytes`)
      return await file.readFile()
    } finally {
      await file.close()
    }
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message.replace(/, open '.*'$/s, '') : String(thrown)
    report.mistakes.push({ path: key, message: `cannot be read: ${reason}`, found: JSON.stringify(path) })
    return undefined
  }
}

/** Certificate and private key that belong together. Undefined: something is wrong and has been reported. */
export async function readCertificate(
  section: Section,
  keys: { readonly cert: string; readonly key: string },
  wall: number,
  report: Report,
): Promise<CertificateFiles | undefined> {
  const paths = { cert: section.text(keys.cert), key: section.text(keys.key) }
  const at = { cert: section.path(keys.cert), key: section.path(keys.key) }
  return readPair(paths, at, wall, report)
}

/** The same for paths that are known; `at`: what names them, for the mistakes. */
export async function readPair(
  paths: { readonly cert: string | undefined; readonly key: string | undefined },
  at: { readonly cert: string; readonly key: string },
  wall: number,
  report: Report,
): Promise<CertificateFiles | undefined> {
  const read = async (path: string | undefined, key: string) => (path === undefined ? undefined : readPath(path, key, report))
  const [certBytes, keyBytes] = await Promise.all([read(paths.cert, at.cert), read(paths.key, at.key)])
  const certificate = certBytes === undefined ? undefined : parseCertificate(certBytes, at.cert, report)
  const key = keyBytes === undefined ? undefined : parseKey(keyBytes, at.key, report)
  if (certificate === undefined || key === undefined || certBytes === undefined || keyBytes === undefined) return undefined
  if (!certificate.checkPrivateKey(key)) {
    report.mistakes.push({ path: at.key, message: `does not belong to the certificate in ${at.cert.split('.').at(-1)}` })
    return undefined
  }
  const texts = { cert: certBytes.toString('utf8'), key: keyBytes.toString('utf8') }
  try {
    createSecureContext(texts)
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown)
    report.mistakes.push({ path: at.cert, message: `cannot be used for TLS: ${reason}` })
    return undefined
  }
  warnAboutTime(certificate, at.cert, wall, report)
  return { ...texts, subjects: subjectsOf(certificate) }
}

/** Text of a PEM bundle of at least one certificate, which a key names. */
export async function readBundle(section: Section, key: string, report: Report): Promise<string | undefined> {
  const path = section.text(key)
  return path === undefined ? undefined : readBundleAt(path, section.path(key), report)
}

/** The same where `path` is part of what the key `key` holds. */
export async function readBundleAt(path: string, key: string, report: Report): Promise<string | undefined> {
  const bytes = await readPath(path, key, report)
  if (bytes === undefined) return undefined
  const text = bytes.toString('utf8')
  const certificates = certificatesIn(text)
  if (certificates.length === 0) report.mistakes.push({ path: key, message: 'holds no certificate in PEM form' })
  return certificates.every((pem) => parseCertificate(Buffer.from(pem), key, report) !== undefined) ? text : undefined
}

/** DNS names in the SANs, else the CN, lower case. */
export function subjectsOf(certificate: X509Certificate): readonly string[] {
  const names = (certificate.subjectAltName ?? '').split(', ').flatMap((entry) => {
    return entry.startsWith('DNS:') ? [entry.slice('DNS:'.length).toLowerCase()] : []
  })
  if (names.length > 0) return [...new Set(names)]
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1]
  return common === undefined ? [] : [common.toLowerCase()]
}

function parseCertificate(pem: Buffer, key: string, report: Report): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    report.mistakes.push({ path: key, message: 'is no certificate in PEM form' })
    return undefined
  }
}

function parseKey(pem: Buffer, key: string, report: Report): KeyObject | undefined {
  try {
    return createPrivateKey(pem)
  } catch {
    const encrypted = /ENCRYPTED/.test(pem.toString('latin1'))
    const message = encrypted ? 'is a private key with a passphrase; remove it' : 'is no private key in PEM form'
    report.mistakes.push({ path: key, message })
    return undefined
  }
}

function warnAboutTime(certificate: X509Certificate, key: string, wall: number, report: Report): void {
  if (certificate.validToDate.getTime() < wall) {
    report.warnings.push(`The certificate in ${key} expired on ${certificate.validTo}.`)
  } else if (certificate.validFromDate.getTime() > wall) {
    report.warnings.push(`The certificate in ${key} is valid only from ${certificate.validFrom}.`)
  }
}
