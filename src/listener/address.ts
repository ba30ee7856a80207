/**
 * Client addresses as they are shown and counted. When strangers are counted an IPv6 address counts as its /64, the
 * smallest network that one customer gets: counting single addresses would count nothing. IPv4-mapped IPv6 is IPv4.
 */
import ipaddr from 'ipaddr.js'

/** What stands for a socket that has no address (any more). */
const UNKNOWN = 'unknown'
/** Text that is no address is cut to so many characters. */
const TEXT = 64

/**
 * An address of a socket without what means nothing to others: an IPv4-mapped IPv6 address is IPv4, a link-local one loses its
 * zone. Every other one stands as it is.
 */
export function plainAddress(address: string): string {
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice(7)
  const zone = address.indexOf('%')
  return zone < 0 ? address : address.slice(0, zone)
}

/** What an address is counted as: `192.0.2.1`, or `2001:db8:0:1::/64`. Text that is no address is its own key. */
export function addressKey(address: string | undefined): string {
  if (address === undefined) return UNKNOWN
  if (!ipaddr.isValid(address)) return address.slice(0, TEXT)
  const parsed = ipaddr.process(address)
  if (parsed instanceof ipaddr.IPv4) return parsed.toString()
  const network = new ipaddr.IPv6([...parsed.parts.slice(0, 4), 0, 0, 0, 0])
  return `${network.toString()}/64`
}

/** An address as it stands in logs: IPv4-mapped as IPv4, without zone. */
export function addressText(address: string | undefined): string {
  if (address === undefined) return UNKNOWN
  return ipaddr.isValid(address) ? ipaddr.process(address.replace(/%.*$/, '')).toString() : address.slice(0, TEXT)
}
