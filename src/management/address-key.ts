/**
 * What counts as one address when strangers are counted: an IPv4 address, or an IPv6 /64 (the smallest network that one
 * customer gets, so that counting single addresses would count nothing). IPv4-mapped IPv6 addresses are IPv4.
 */
import ipaddr from 'ipaddr.js'

/** `192.0.2.1` or `2001:db8:0:1::/64`; text that is no address (a closed socket has none) is its own key, cut to 64 characters. */
export function addressKey(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  if (!ipaddr.isValid(address)) return address.slice(0, 64)
  const parsed = ipaddr.process(address)
  if (parsed instanceof ipaddr.IPv4) return parsed.toString()
  const network = new ipaddr.IPv6([...parsed.parts.slice(0, 4), 0, 0, 0, 0])
  return `${network.toString()}/64`
}

/** The address as it stands in logs: IPv4-mapped as IPv4, without zone. */
export function addressText(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  return ipaddr.isValid(address) ? ipaddr.process(address.replace(/%.*$/, '')).toString() : address.slice(0, 64)
}
