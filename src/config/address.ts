/**
 * Addresses as the configuration writes them: sockets (`1.2.3.4:993`, `[::]:993`), networks (`10.0.0.0/8`) and hosts.
 * Address literals are taken in their ordinary form only: shortened or octal IPv4 (`127.1`, `010.0.0.1`), which
 * programs read differently, is refused.
 */
import { isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'
import type { SocketAddress } from './config.ts'
import type { Parsed } from './duration.ts'

/** A socket address; port 0 lets the kernel choose one. Names are refused: what is bound must not depend on DNS. */
export function parseSocketAddress(text: string): Parsed<SocketAddress> {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text)
  if (match === null) {
    return {
      ok: false,
      reason: isIPv6(text) ? 'IPv6 addresses stand in brackets, before the port' : 'not address:port',
    }
  }
  const [, six, four, digits] = match
  const port = Number(digits)
  if (port > 65_535) return { ok: false, reason: 'the port is above 65535' }
  if (six !== undefined) {
    if (!isIPv6(six)) return { ok: false, reason: 'no IPv6 address stands in the brackets' }
    if (/^::ffff:/i.test(six)) return { ok: false, reason: 'write an IPv4 address without ::ffff:' }
    return { ok: true, value: { host: six, port, family: 6, text } }
  }
  if (four === undefined || !isIPv4(four)) return { ok: false, reason: 'a number address is needed, not a name' }
  return { ok: true, value: { host: four, port, family: 4, text } }
}

/** A network in CIDR form. */
export function parseCidr(text: string): Parsed<string> {
  const slash = text.indexOf('/')
  const host = slash < 0 ? text : text.slice(0, slash)
  if (!isAddress(host)) return { ok: false, reason: 'no address stands before the slash' }
  if (slash < 0) return { ok: false, reason: `write ${host}/${isIPv4(host) ? 32 : 128} for a single address` }
  if (!/^\d{1,3}$/.test(text.slice(slash + 1)) || !ipaddr.isValidCIDR(text)) {
    return { ok: false, reason: 'the prefix length is not right' }
  }
  return { ok: true, value: text }
}

/** Whether a host is an address and not a name. */
export function isAddress(host: string): boolean {
  return isIPv4(host) || (isIPv6(host) && !host.includes('%'))
}

/** Whether the text is a host name: labels of letters, digits, `-` and `_`, at most 253 characters. */
export function isHostName(text: string): boolean {
  if (text.length > 253) return false
  const labels = text.replace(/\.$/, '').split('.')
  if (!labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label))) return false
  // A last label of digits alone is an address that went wrong (WHATWG URL calls it so too).
  return !/^\d+$/.test(labels.at(-1) ?? '')
}

/** The same address in one form, so that two ways to write it compare equal; undefined for names. */
export function canonicalAddress(host: string): string | undefined {
  if (!isAddress(host)) return undefined
  const parsed = ipaddr.process(host)
  return parsed.toString()
}

/** Whether a packet to `host` stays on this host: 127.0.0.0/8, ::1. */
export function isLoopback(host: string): boolean {
  return isAddress(host) && ipaddr.process(host).range() === 'loopback'
}
