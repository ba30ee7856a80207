/**
 * What one key demands of another. Every rule is a function over the tables that adds mistakes (with the path of the
 * key to change) and warnings; a rule whose keys are missing or wrong in themselves keeps silent, since that has been
 * said. The destinations named in a mapping file are the file source's business.
 */
import { pathText, type Report } from './mistake.ts'
import { nearest } from './nearest.ts'
import { ACCOUNT_PROTOCOLS, declaredDestination, hasLeg, servedProtocols } from './references.ts'
import { checkLegRules, type RuleContext } from './rules-destination.ts'
import { checkHttpRules } from './rules-http.ts'
import { checkListenerRules } from './rules-listener.ts'
import { checkSourceRules } from './rules-source.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'
import { CIPHER_SUITES, cipherSuiteName } from '../tls/policy.ts'

export function checkRules(tables: Tables, context: RuleContext, report: Report): void {
  checkListenerRules(tables, report)
  checkLegRules(tables, context, report)
  checkRoutingRules(tables, report)
  checkSourceRules(tables, report)
  checkHttpRules(tables, report)
  checkCertificateRules(tables, report)
  checkCapabilityRules(tables, report)
}

function checkRoutingRules(tables: Tables, report: Report): void {
  const routing = tables.one('routing')
  const served = servedProtocols(tables)
  if (!routing.present) {
    const message = 'must be set'
    report.mistakes.push({ path: routing.path('default_destination'), message, allowed: 'the name of a destination' })
  }
  const fallback = declaredDestination(tables, routing, 'default_destination', report)
  const accountProtocols = ACCOUNT_PROTOCOLS.filter((protocol) => served.has(protocol))
  if (fallback !== undefined) {
    for (const protocol of accountProtocols) {
      if (hasLeg(tables, fallback, protocol)) continue
      const message = `the default destination needs this leg, because a listener serves ${protocol}`
      report.mistakes.push({ path: pathText(['destination', fallback, 'protocol', protocol]), message })
    }
  }
  for (const destination of tables.all('destination.<name>')) {
    if (destination.name === fallback) continue
    const lacking = accountProtocols.filter((protocol) => !hasLeg(tables, destination.name, protocol))
    if (lacking.length === 0) continue
    report.warnings.push(
      `${destination.path()} has no leg for ${lacking.join(', ')}: accounts mapped to it cannot log in there.`,
    )
  }
  checkPassthrough(tables, routing, served, report)
}

/** The pass-through destination declares smtp, and lmtp where an lmtp listener exists. */
function checkPassthrough(tables: Tables, routing: Section, served: ReadonlySet<string>, report: Report): void {
  const key = 'smtp_passthrough_destination'
  if (!routing.isSet(key)) {
    const wanting = (['smtp', 'lmtp'] as const).filter((protocol) => served.has(protocol))
    if (wanting.length === 0) return
    const message = `must be set, because a listener serves ${wanting.join(' and ')}`
    report.mistakes.push({ path: routing.path(key), message, allowed: 'the name of a destination' })
    return
  }
  const name = declaredDestination(tables, routing, key, report)
  if (name === undefined) return
  for (const protocol of served.has('lmtp') ? (['smtp', 'lmtp'] as const) : (['smtp'] as const)) {
    if (hasLeg(tables, name, protocol)) continue
    report.mistakes.push(
      {
        path: pathText(['destination', name, 'protocol', protocol]),
        message: 'the pass-through destination needs this leg',
      },
    )
  }
}

function checkCertificateRules(tables: Tables, report: Report): void {
  const certificates = tables.all('tls.certificate.<name>')
  const names = certificates.map((certificate) => certificate.name)
  const [, ...furtherDefaults] = certificates.filter((certificate) => certificate.flag('default') === true)
  for (const certificate of furtherDefaults) {
    report.mistakes.push({ path: certificate.path('default'), message: 'another certificate is the default already' })
  }
  const catchAll = certificates.some((certificate) => {
    return certificate.flag('default') === true || certificate.texts('subjects')?.includes('*') === true
  })
  if (certificates.length > 1 && !catchAll) {
    report.warnings.push(
      'No certificate in [tls.certificate] has default = true: none fits clients that ask for another name, or for none.',
    )
  }
  const admin = tables.one('admin')
  const wanted = admin.text('certificate')
  if (wanted !== undefined && !names.includes(wanted)) {
    const near = nearest(wanted, names)
    const mistake = { path: admin.path('certificate'), message: 'no such certificate', found: JSON.stringify(wanted) }
    report.mistakes.push(near === undefined ? mistake : { ...mistake, suggestion: near })
  }
  const protocols = tables.one('tls.protocols')
  const disabled = new Set((protocols.texts('disable_cipher_suites') ?? []).map(cipherSuiteName))
  const usable = CIPHER_SUITES.filter((suite) => protocols.text('min_version') !== '1.3' || suite.version === '1.3')
  if (usable.every((suite) => disabled.has(suite.openssl))) {
    report.mistakes.push({ path: protocols.path('disable_cipher_suites'), message: 'no cipher suite is left' })
  }
}

/** Words that the proxy says itself, when they are true. */
const OWN_WORDS: Readonly<Record<string, { key: string; words: RegExp }>> = {
  imap: { key: 'advertise', words: /^(STARTTLS|LOGINDISABLED|AUTH=.*)$/i },
  pop3: { key: 'capa', words: /^(USER|SASL|STLS|IMPLEMENTATION)( .*)?$/i },
  submission: { key: 'ehlo', words: /^(AUTH|STARTTLS)( .*)?$/i },
}

function checkCapabilityRules(tables: Tables, report: Report): void {
  for (const [protocol, { key, words }] of Object.entries(OWN_WORDS)) {
    const section = tables.one(`capabilities.${protocol}`)
    for (const word of section.texts(key) ?? []) {
      if (!words.test(word)) continue
      const message = 'is added by the proxy itself, where it is true'
      report.mistakes.push({ path: section.path(key), message: `${JSON.stringify(word)} ${message}` })
    }
  }
  const imap = tables.one('capabilities.imap')
  const advertised = imap.texts('advertise')
  if (advertised !== undefined && !advertised.some((word) => /^IMAP4rev[12]$/i.test(word))) {
    report.mistakes.push({ path: imap.path('advertise'), message: 'IMAP4rev1 or IMAP4rev2 must be among them' })
  }
}
