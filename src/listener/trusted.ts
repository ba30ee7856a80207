/** Who may speak for others: the networks of listener.proxy_trusted, parsed once per listener. */
import ipaddr from 'ipaddr.js'
import type { ListenerConfig } from '../config/config.ts'

type Network = ReturnType<typeof ipaddr.parseCIDR>

const parsed = new WeakMap<ListenerConfig, readonly Network[]>()

/** Whether `address` is in one of the listener's trusted networks. What is no address is in none. */
export function isTrusted(listener: ListenerConfig, address: string): boolean {
  if (listener.proxyTrusted.length === 0) return false
  let networks = parsed.get(listener)
  if (networks === undefined) {
    networks = listener.proxyTrusted.map(parseNetwork)
    parsed.set(listener, networks)
  }
  if (!ipaddr.isValid(address)) return false
  const one = ipaddr.process(address)
  return networks.some(([network, bits]) => one.kind() === network.kind() && one.match(network, bits))
}

/** An IPv4-mapped network is the IPv4 network that it is: addresses are compared in that form. */
function parseNetwork(cidr: string): Network {
  const [network, bits] = ipaddr.parseCIDR(cidr)
  return network instanceof ipaddr.IPv6 && network.isIPv4MappedAddress() && bits >= 96 ? [network.toIPv4Address(), bits - 96] : [network, bits]
}
