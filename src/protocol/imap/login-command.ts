/**
 * Writes commands for a backend. Names and passwords are a stranger's: whatever is not plain printable ASCII goes as a
 * literal, whose length is counted, so nothing in it can end a line or an argument (RFC 9051 §4.3, RFC 7888).
 */
import { SignalboxError } from '../../errors.ts'
import { IMAP_LITERAL_MINUS } from '../../limits.ts'
import { CAPABILITY } from './response.ts'

/** Beyond this a value goes as a literal: backends bound their lines. */
const LONGEST_QUOTED = 1_024

/**
 * `tag LOGIN name password` in pieces: the first is sent at once, each further one after a continuation request.
 * `capabilities` are the backend's bits. Throws INTERNAL on NUL, which no literal may hold.
 */
export function loginCommand(tag: string, name: Buffer, password: Buffer, capabilities: number): Buffer[] {
  const pieces: Buffer[] = []
  let piece: Buffer[] = [Buffer.from(`${tag} LOGIN`)]
  for (const value of [name, password]) {
    if (value.includes(0)) throw new SignalboxError('INTERNAL', 'a NUL in credentials')
    if (isQuotable(value)) {
      piece.push(Buffer.from(` ${quoted(value.toString('latin1'))}`, 'latin1'))
    } else if (takesAtOnce(value.length, capabilities)) {
      piece.push(Buffer.from(` {${value.length}+}\r\n`), value)
    } else {
      pieces.push(Buffer.concat([...piece, Buffer.from(` {${value.length}}\r\n`)]))
      piece = [value]
    }
  }
  pieces.push(Buffer.concat([...piece, Buffer.from('\r\n')]))
  return pieces
}

/** A value of our own making as a quoted string. Throws INTERNAL when it isn't printable ASCII. */
export function quotedOwn(value: string): string {
  if (!isQuotable(Buffer.from(value))) throw new SignalboxError('INTERNAL', 'not fit for a quoted string')
  return quoted(value)
}

function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, '\\$&')}"`
}

function isQuotable(value: Buffer): boolean {
  return value.length <= LONGEST_QUOTED && value.every((byte) => byte >= 0x20 && byte < 0x7f)
}

function takesAtOnce(size: number, capabilities: number): boolean {
  if ((capabilities & CAPABILITY['LITERAL+']) !== 0) return true
  return (capabilities & CAPABILITY['LITERAL-']) !== 0 && size <= IMAP_LITERAL_MINUS
}
