/**
 * The arguments of the ID command (RFC 2971 §3.1): NIL, or a list of field and value. Read only for `x-proxy-ttl`,
 * which a proxy in front of us announces; everything else a client says of itself is dropped.
 */
import type { ArgumentScanner } from './wire.ts'

const TTL_FIELD = 'x-proxy-ttl'
const TTL = /^[0-9]{1,5}$/

export interface ClientId {
  /** The announced time-to-live; undefined: none, or no number. */
  readonly ttl: number | undefined
}

/** Reads everything behind the command's name; undefined: a syntax error. */
export function readClientId(scanner: ArgumentScanner): ClientId | undefined {
  if (!scanner.space()) return undefined
  if (!scanner.open()) return isNil(scanner.atom()) && scanner.done ? { ttl: undefined } : undefined
  let ttl: number | undefined
  for (let pairs = 0; !scanner.close(); pairs++) {
    if (pairs > 0 && !scanner.space()) return undefined
    const field = scanner.string()?.toString('latin1').toLowerCase()
    if (field === undefined || !scanner.space()) return undefined
    const value = scanner.string()?.toString('latin1')
    if (value === undefined && !isNil(scanner.atom())) return undefined
    if (field === TTL_FIELD && value !== undefined && TTL.test(value)) ttl = Number(value)
  }
  return scanner.done ? { ttl } : undefined
}

function isNil(atom: Buffer | undefined): boolean {
  return atom?.length === 3 && atom.toString('latin1').toUpperCase() === 'NIL'
}
