/** Rules of listeners: their TLS, who may send PROXY headers, and that no two share an address. */
import { canonicalAddress, parseSocketAddress } from './address.ts'
import type { SocketAddress } from './config.ts'
import type { Report } from './mistake.ts'
import { PROTOCOLS, TLS_MODES } from './schema-listener.ts'
import type { Section } from './section.ts'
import type { Tables } from './tables.ts'

export function checkListenerRules(tables: Tables, report: Report): void {
  const listeners = tables.all('listener.<name>')
  if (listeners.length === 0) {
    report.mistakes.push(
      { path: 'listener', message: 'at least one [listener.<name>] is needed' },
    )
  }
  for (const listener of listeners) {
    const protocol = listener.choice('protocol', PROTOCOLS)
    const tls = listener.choice('tls', TLS_MODES)
    if (tls === 'starttls' && (protocol === 'smtp' || protocol === 'lmtp' || protocol === 'http')) {
      const message = `${protocol} knows no starttls here`
      report.mistakes.push({ path: listener.path('tls'), message, allowed: '"implicit" or "plain"' })
    }
    const proxyProtocol = listener.choice('proxy_protocol', ['off', 'optional', 'required'])
    if (proxyProtocol !== undefined && proxyProtocol !== 'off' && listener.texts('proxy_trusted')?.length === 0) {
      const message = `must be set, because proxy_protocol is "${proxyProtocol}"`
      report.mistakes.push(
        { path: listener.path('proxy_trusted'), message, allowed: 'the networks that may send a PROXY header' },
      )
    }
    if (protocol !== undefined && protocol !== 'http' && listener.text('forwarded') === 'trust') {
      report.warnings.push(`${listener.path('forwarded')} means nothing to a listener that serves ${protocol}.`)
    }
  }
  checkSharedAddresses(tables, report)
  checkCountsOfKernel(tables, report)
}

/** Where the kernel hands connections out, nobody sees an address's connections before a worker has one of them. */
function checkCountsOfKernel(tables: Tables, report: Report): void {
  const limits = tables.one('limits')
  if (tables.one('server').text('distribution') !== 'kernel' || (limits.number('max_connections_per_ip') ?? 0) === 0) return
  report.mistakes.push({
    path: limits.path('max_connections_per_ip'),
    message: 'cannot be counted with server.distribution = "kernel"',
    allowed: '0, or server.distribution = "primary"',
  })
}

/** The addresses of a listener (or of the management API) that could be parsed. */
export function boundAddresses(section: Section): readonly SocketAddress[] {
  const texts = section.texts('bind') ?? [section.text('bind') ?? '']
  return texts.flatMap((text) => {
    const parsed = parseSocketAddress(text)
    return parsed.ok ? [parsed.value] : []
  })
}

/** Whether two sockets would ask for the same address; 0.0.0.0 and [::] cover every address of their family. */
export function sharesAddress(left: SocketAddress, right: SocketAddress): boolean {
  if (left.port !== right.port || left.port === 0 || left.family !== right.family) return false
  return isWildcard(left) || isWildcard(right) || canonicalAddress(left.host) === canonicalAddress(right.host)
}

export function isWildcard(address: SocketAddress): boolean {
  const host = canonicalAddress(address.host)
  return host === '0.0.0.0' || host === '::'
}

function checkSharedAddresses(tables: Tables, report: Report): void {
  const taken: { readonly address: SocketAddress; readonly owner: Section }[] = []
  for (const section of [...tables.all('listener.<name>'), tables.one('admin')]) {
    for (const address of boundAddresses(section)) {
      const other = taken.find((entry) => sharesAddress(entry.address, address))
      if (other !== undefined) {
        const same = other.owner === section ? 'this listener' : other.owner.path()
        const message = `${address.text} is taken already: ${same} binds ${other.address.text}`
        report.mistakes.push({ path: section.path('bind'), message })
      }
      taken.push({ address, owner: section })
    }
  }
}
