/**
 * The attributes of XCLIENT (Postfix's XCLIENT_README; Dovecot's POP3, ManageSieve and submission take the same names): who
 * the client is, in xtext (RFC 3461 §4), so that no value can break out of its attribute, whatever a client called itself.
 * LOGIN is not among them and never will be: nobody but the backend says who has logged in.
 *
 * Which of them a backend may be sent is the dialogue's to decide: an SMTP server lists the names it takes.
 */
import { isIP, isIPv6 } from 'node:net'
import type { ClientAnnouncement, DialogueFacts } from './protocol.ts'

export type XclientName =
  | 'ADDR'
  | 'PORT'
  | 'NAME'
  | 'REVERSE_NAME'
  | 'DESTADDR'
  | 'DESTPORT'
  | 'SESSION'
  | 'TTL'
  | 'CLIENT-TRANSPORT'
  | 'HELO'
  | 'PROTO'
/** A name and its value, which is xtext already. */
export type XclientAttribute = readonly [name: XclientName, value: string]

/** A value in its encoded form. A name in EHLO may be long and grow threefold: above this it is not repeated. */
const VALUE = 255
/** What SMTP says in place of a value that is not known: the server then forgets its own. */
export const UNAVAILABLE = '[UNAVAILABLE]'
/** Nobody in particular, by whatever an SMTP server may know its peer (and trust it) by. */
export const NOBODY: readonly XclientAttribute[] = (['ADDR', 'PORT', 'NAME', 'REVERSE_NAME'] as const).map((name) => [name, UNAVAILABLE])

/**
 * What may be told of a client, in a fixed order. Addresses that are none (of a connection that came by no network) are left
 * out with their ports. In SMTP what isn't known is said to be so: a server that keeps the proxy's host name or address
 * would go on taking the client for the proxy, with whatever rights it gives that. Names are never known: nobody is asked.
 *
 * @param smtp IPv6 addresses with SMTP's tag (RFC 5321 §4.1.3), and what the client said in EHLO or HELO
 */
export function xclientAttributes(client: ClientAnnouncement, facts: DialogueFacts, { smtp }: { readonly smtp: boolean }): readonly XclientAttribute[] {
  const { clientAddress, clientPort, localAddress, localPort, session, ttl, clientTls } = client
  const address = (text: string): string => (smtp && isIPv6(text) ? `IPV6:${text}` : text)
  const attributes: (readonly [XclientName, string])[] = []
  if (isIP(clientAddress) !== 0) attributes.push(['ADDR', address(clientAddress)], ['PORT', String(clientPort)])
  else if (smtp) attributes.push(['ADDR', UNAVAILABLE], ['PORT', UNAVAILABLE])
  if (smtp) attributes.push(['NAME', UNAVAILABLE], ['REVERSE_NAME', UNAVAILABLE])
  if (isIP(localAddress) !== 0) attributes.push(['DESTADDR', address(localAddress)], ['DESTPORT', String(localPort)])
  attributes.push(['SESSION', session], ['TTL', String(ttl)], ['CLIENT-TRANSPORT', clientTls === undefined ? 'insecure' : 'TLS'])
  if (smtp && facts.heloName !== undefined && facts.heloName !== '') {
    attributes.push(['HELO', facts.heloName], ['PROTO', facts.esmtp === true ? 'ESMTP' : 'SMTP'])
  }
  return attributes.map(([name, value]) => [name, xtext(value)] as const).filter(([, value]) => value.length <= VALUE)
}

/** `ADDR=192.0.2.1 PORT=4711 …`, as it stands behind the command's name. */
export function xclientText(attributes: readonly XclientAttribute[]): string {
  return attributes.map(([name, value]) => `${name}=${value}`).join(' ')
}

/**
 * RFC 3461 §4: printable ASCII but `+`, `=` and the space as it is, every other byte of UTF-8 as `+` and two hexadecimal
 * digits.
 */
export function xtext(value: string): string {
  let text = ''
  for (const byte of Buffer.from(value)) {
    const plain = byte > 0x20 && byte < 0x7f && byte !== PLUS && byte !== EQUALS
    text += plain ? String.fromCharCode(byte) : `+${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return text
}

const PLUS = 0x2b
const EQUALS = 0x3d
