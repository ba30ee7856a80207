/** A destination and its legs, as data: names resolved, files read, forwarding decided per leg. */
import type { DestinationConfig, Forwarding, LegConfig, ProtocolName } from './config.ts'
import type { Materials } from './materials.ts'
import { legsOf } from './references.ts'
import { FORWARDINGS } from './schema-destination.ts'
import { PROTOCOLS, TLS_MODES } from './schema-listener.ts'
import type { Section } from './section.ts'
import { flag, number, sure } from './sure.ts'
import type { Tables } from './tables.ts'

export function buildDestination(section: Section, tables: Tables, materials: Materials): DestinationConfig {
  const host = sure(section.text('host'), section, 'host')
  const forwarding = section.choice('forwarding', FORWARDINGS) ?? (flag(section, 'proxy_protocol') ? 'proxy' : 'none')
  const client = materials.clients.get(section.name)
  // Keys are the seven protocols, never a name from the file.
  const legs: Partial<Record<ProtocolName, LegConfig>> = {}
  for (const leg of legsOf(tables, section.name)) {
    const protocol = sure(PROTOCOLS.find((known) => known === leg.name), leg, 'port')
    legs[protocol] = {
      protocol,
      port: number(leg, 'port'),
      tls: sure(leg.choice('tls', TLS_MODES), leg, 'tls'),
      forwarding: leg.choice('forwarding', FORWARDINGS) ?? inherited(forwarding, protocol),
    }
  }
  return {
    name: section.name,
    host,
    tlsServerName: section.text('tls_server_name') ?? host,
    forwarding,
    forwarded: flag(section, 'forwarded'),
    allowInvalidCerts: flag(section, 'tls_allow_invalid_certs'),
    pinnedCertSha256: section.text('tls_pinned_cert_sha256')?.replaceAll(':', '').toLowerCase(),
    clientCert: client?.cert,
    clientKey: client?.key,
    ca: materials.bundles.get(section.name),
    sourceIps: sure(section.texts('source_ips'), section, 'source_ips'),
    hideAuthErrors: flag(section, 'hide_auth_errors'),
    allowPlaintextAuth: flag(section, 'allow_plaintext_auth'),
    maxConnections: number(section, 'max_connections'),
    legs,
  }
}

/** XCLIENT that a leg inherits means none where the protocol is not spoken by the proxy. */
function inherited(forwarding: Forwarding, protocol: ProtocolName): Forwarding {
  const opaque = protocol === 'smtp' || protocol === 'lmtp' || protocol === 'http'
  return forwarding === 'xclient' && opaque ? 'none' : forwarding
}
