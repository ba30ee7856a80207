/** Client addresses as they are shown and counted. */
import ipaddr from 'ipaddr.js'

/** An IPv4-mapped IPv6 address as the IPv4 address that it is; every other one as it stands. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** What an address is counted as: IPv4 itself (IPv4-mapped too), IPv6 its /64, anything unparsable itself. */
export function addressKey(address: string): string {
  if (!address.includes(':')) return address
  try {
    const parsed = ipaddr.process(address)
    if (parsed.kind() === 'ipv4') return parsed.toString()
    return `${ipaddr.IPv6.networkAddressFromCIDR(`${parsed.toString()}/64`).toString()}/64`
  } catch {
    // A zone or something that is no address: counted as it is rather than not at all.
    return address
  }
}
