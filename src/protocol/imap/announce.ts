/**
 * Tells a backend by IMAP ID (RFC 2971) who the client is, with the fields that Dovecot's `imap_id_retain` and
 * `login_trusted_networks` understand. Sent before the login, to backends that advertise ID only.
 */
import type { ClientAnnouncement } from '../protocol.ts'
import { quotedOwn } from './login-command.ts'

/** The ID command. Every value is ours (addresses as the sockets have them, numbers, the session's id). */
export function announceById(tag: string, client: ClientAnnouncement): Buffer {
  const fields: readonly (readonly [string, string])[] = [
    ['x-originating-ip', client.clientAddress],
    ['x-originating-port', String(client.clientPort)],
    ['x-connected-ip', client.localAddress],
    ['x-connected-port', String(client.localPort)],
    ['x-proxy-ttl', String(client.ttl)],
    ['x-session-id', client.session],
    ['x-client-transport', client.clientTls !== undefined ? 'TLS' : 'insecure'],
  ]
  return Buffer.from(`${tag} ID (${fields.map(([key, value]) => `"${key}" ${quotedOwn(value)}`).join(' ')})\r\n`)
}
