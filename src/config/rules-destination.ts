/** Rules of destinations and their legs: TLS, credentials in the clear, forwarding, and loops into ourselves. */
import { canonicalAddress, isAddress, isLoopback } from './address.ts'
import type { Report } from './mistake.ts'
import { legsOf } from './references.ts'
import { boundAddresses, isWildcard } from './rules-listener.ts'
import { FORWARDINGS } from './schema-destination.ts'
import { TLS_MODES } from './schema-listener.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

/** What the rules know besides the file. */
export interface RuleContext {
  /** Addresses of this host's interfaces, for the rule that no destination is one of our own listeners. */
  readonly localAddresses: readonly string[]
}

const CREDENTIALS: ReadonlySet<string> = new Set(['imap', 'pop3', 'managesieve', 'submission', 'http'])
/** Protocols that cannot carry XCLIENT, nor STARTTLS that the proxy would have to speak. */
const OPAQUE: ReadonlySet<string> = new Set(['smtp', 'lmtp', 'http'])

export function checkLegRules(tables: Tables, context: RuleContext, report: Report): void {
  for (const destination of tables.all('destination.<name>')) {
    const legs = legsOf(tables, destination.name)
    for (const leg of legs) checkLeg(destination, leg, report)
    if (legs.length === 0) report.warnings.push(`${destination.path()} has no protocol leg: nothing can be sent there.`)
    checkVerification(destination, legs, report)
    checkSourceAddresses(destination, context, report)
    checkLoops(tables, context, destination, legs, report)
  }
}

function checkLeg(destination: Section, leg: Section, report: Report): void {
  const tls = leg.choice('tls', TLS_MODES)
  if (tls === 'plain' && CREDENTIALS.has(leg.name) && destination.flag('allow_plaintext_auth') === false) {
    const message = `${leg.name} carries passwords, which would travel unencrypted`
    const modes = leg.name === 'http' ? '"implicit"' : '"implicit", "starttls"'
    const allowed = `${modes}, or allow_plaintext_auth = true in ${destination.path()}`
    report.mistakes.push({ path: leg.path('tls'), message, allowed })
  }
  if (tls === 'starttls' && OPAQUE.has(leg.name)) {
    const message = `${leg.name} legs know no starttls`
    report.mistakes.push({ path: leg.path('tls'), message, allowed: '"implicit" or "plain"' })
  }
  if (leg.choice('forwarding', FORWARDINGS) === 'xclient' && OPAQUE.has(leg.name)) {
    const message = `${leg.name} cannot carry XCLIENT`
    report.mistakes.push({ path: leg.path('forwarding'), message, allowed: '"proxy" or "none"' })
  }
}

function checkVerification(destination: Section, legs: readonly Section[], report: Report): void {
  const host = destination.text('host')
  const encrypted = legs.some((leg) => leg.text('tls') === 'implicit' || leg.text('tls') === 'starttls')
  if (host !== undefined && isAddress(host) && encrypted && !destination.isSet('tls_server_name')) {
    const message = 'must be set, because the host is an address and a leg uses TLS'
    report.mistakes.push({ path: destination.path('tls_server_name'), message, allowed: 'the name in its certificate' })
  }
  const [certificate, key] = [destination.isSet('tls_client_cert'), destination.isSet('tls_client_key')]
  if (certificate !== key) {
    const [given, lacking] = certificate ? ['tls_client_cert', 'tls_client_key'] : ['tls_client_key', 'tls_client_cert']
    report.mistakes.push({ path: destination.path(lacking), message: `must be set, because ${given} is` })
  }
  if (destination.flag('tls_allow_invalid_certs') !== true) return
  if (destination.text('tls_pinned_cert_sha256') !== undefined) {
    report.warnings.push(`${destination.path('tls_allow_invalid_certs')} means nothing beside a pinned certificate.`)
  } else {
    report.warnings.push(
      `${destination.path()} accepts any certificate: passwords can be read by whoever sits in between.`,
    )
  }
}

/** An address may come up later (a floating one), so it is no mistake that this host doesn't have it now. */
function checkSourceAddresses(destination: Section, { localAddresses }: RuleContext, report: Report): void {
  const own = new Set(localAddresses.map(canonicalAddress))
  const strange = (destination.texts('source_ips') ?? []).filter((ip) => !isLoopback(ip) && !own.has(canonicalAddress(ip)))
  if (strange.length === 0) return
  const are = strange.length === 1 ? 'is no address' : 'are no addresses'
  report.warnings.push(`${destination.path('source_ips')}: ${strange.join(', ')} ${are} of this host: it cannot connect from there.`)
}

/** No destination may be one of our own listeners: every login would come back until descriptors run out. */
function checkLoops(
  tables: Tables,
  context: RuleContext,
  destination: Section,
  legs: readonly Section[],
  report: Report,
): void {
  const host = destination.text('host')
  if (host === undefined) return
  const named = /^localhost\.?$/i.test(host) ? ['127.0.0.1', '::1'] : [host]
  const addresses = named.flatMap((name) => canonicalAddress(name) ?? [])
  const own = new Set(context.localAddresses.map(canonicalAddress))
  const serverName = tables.one('server').text('hostname')
  for (const leg of legs) {
    for (const listener of tables.all('listener.<name>')) {
      const meets = boundAddresses(listener).find((bound) => {
        if (bound.port !== leg.number('port')) return false
        return addresses.some((address) => {
          if (!isWildcard(bound)) return canonicalAddress(bound.host) === address
          const sameFamily = address.includes(':') === (bound.family === 6)
          return sameFamily && (isLoopback(address) || own.has(address) || address === canonicalAddress(bound.host))
        })
      })
      if (meets !== undefined) {
        const message = `${host}:${leg.number('port')} is our own ${listener.path()}: logins would go round in circles`
        report.mistakes.push({ path: leg.path('port'), message })
      } else if (host === serverName && boundAddresses(listener).some((bound) => bound.port === leg.number('port'))) {
        const place = `${host}:${leg.number('port')}`
        report.warnings.push(
          `${leg.path()} is ${place}, by the name of this server: make sure that it does not lead back to ${listener.path()}.`,
        )
      }
    }
  }
}
