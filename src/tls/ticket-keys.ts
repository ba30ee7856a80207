/**
 * The keys that session tickets are sealed with: 48 bytes, as Node takes them. Whoever has them can pose as this server
 * to clients that resume a session, and read TLS 1.2 sessions that were resumed with them, so they are never logged and
 * should be replaced: made ones are after limits.TICKET_KEYS_MS, those of a file when the operator replaces the file.
 */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { SignalboxError } from '../errors.ts'

export const TICKET_KEYS = 48

export function makeTicketKeys(): Buffer {
  return randomBytes(TICKET_KEYS)
}

/** @throws SignalboxError CONFIG_INVALID when the file can't be read or has another length */
export async function readTicketKeys(path: string): Promise<Buffer> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (cause) {
    throw new SignalboxError('CONFIG_INVALID', `the ticket keys in ${path} cannot be read`, { cause })
  }
  checkTicketKeys(bytes)
  return bytes
}

/** @throws SignalboxError CONFIG_INVALID for another length */
export function checkTicketKeys(keys: Uint8Array): void {
  if (keys.length === TICKET_KEYS) return
  throw new SignalboxError('CONFIG_INVALID', `ticket keys are ${TICKET_KEYS} bytes, not ${keys.length}`)
}
