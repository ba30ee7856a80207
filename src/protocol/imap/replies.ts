/**
 * Every word that the proxy itself says to an IMAP client. Fixed answers are made once per listener and TLS state;
 * tagged ones are the client's tag before a fixed text, so that one line costs one small buffer.
 */
import type { ImapCapabilities } from '../../config/config.ts'
import type { DialogueWords } from '../preauth-machine.ts'
import { credentialsAllowed, offeredMechanisms, passwordsOffered } from '../../sasl/policy.ts'

const CRLF = '\r\n'

/** Texts behind a tag. */
export const TAGGED = {
  capability: 'OK CAPABILITY completed',
  noop: 'OK NOOP completed',
  id: 'OK ID completed',
  logout: 'OK LOGOUT completed',
  startTls: 'OK Begin TLS negotiation now',
  badArguments: 'BAD Syntax error in arguments',
  missingCommand: 'BAD Missing command',
  notBeforeLogin: 'BAD Unknown command, or not allowed before login',
  startTlsNotOffered: 'BAD STARTTLS is not offered',
  literalTooLarge: 'BAD [TOOBIG] Literal too large',
  privacyRequired: 'NO [PRIVACYREQUIRED] Logins need TLS on this connection',
  loginNotOffered: 'NO [CANNOT] Password logins are not offered',
  unsupportedMechanism: 'NO [CANNOT] Unsupported authentication mechanism',
  badBase64: 'BAD Invalid base64 in authentication exchange',
  cancelled: 'BAD Authentication cancelled',
  failed: 'NO [AUTHENTICATIONFAILED] Authentication failed',
  tooManySessions: 'NO [LIMIT] Too many sessions of this account, please close some and try again',
  unavailable: 'NO [UNAVAILABLE] Service temporarily unavailable, please try again later',
} as const

/** Lines of their own. */
export const LINES = {
  continueLiteral: Buffer.from(`+ OK${CRLF}`),
  badTag: Buffer.from(`* BAD Invalid tag${CRLF}`),
  tooBusy: Buffer.from(`* BYE [UNAVAILABLE] Too many connections, please try again later${CRLF}`),
  timeout: Buffer.from(`* BYE Login timed out${CRLF}`),
  shutdown: Buffer.from(`* BYE [UNAVAILABLE] Server is shutting down${CRLF}`),
  tooManyCommands: Buffer.from(`* BYE Too many commands before login${CRLF}`),
  lineTooLong: Buffer.from(`* BYE Command line too long${CRLF}`),
  literalTooLarge: Buffer.from(`* BYE [TOOBIG] Literal too large${CRLF}`),
  bufferFull: Buffer.from(`* BYE Too much data before login${CRLF}`),
  notImap: Buffer.from(`* BYE This is an IMAP server${CRLF}`),
  injection: Buffer.from(`* BYE Unexpected data behind STARTTLS${CRLF}`),
} as const

const BYE_LOGOUT = `* BYE Logging out${CRLF}`
const BYE_TOO_MANY_ATTEMPTS = `* BYE Too many failed authentication attempts${CRLF}`

/** The words of the dialogue that every protocol has. */
export const WORDS: DialogueWords<string> = {
  timeout: LINES.timeout,
  shutdown: LINES.shutdown,
  tooManyCommands: LINES.tooManyCommands,
  lineTooLong: LINES.lineTooLong,
  bufferFull: LINES.bufferFull,
  foreign: LINES.notImap,
  injection: LINES.injection,
  failure,
  unavailable: (tag, reason) => tagged(tag, reason === 'limit' ? TAGGED.tooManySessions : TAGGED.unavailable),
  cancelled: (tag) => tagged(tag, TAGGED.cancelled),
  challenge: continuation,
  failed: TAGGED.failed,
  badBase64: TAGGED.badBase64,
}

/** What a listener says in one TLS state. */
export interface ImapReplies {
  readonly greeting: Buffer
  /** `* CAPABILITY …` with its line end, before the tagged OK. */
  readonly capabilityLine: string
  /** `* ID …` with its line end, before the tagged OK. */
  readonly idLine: string
}

/** Makes the replies. `startTls`: it is offered now. */
export function imapReplies(capabilities: ImapCapabilities, secure: boolean, startTls: boolean): ImapReplies {
  const list = capabilityList(capabilities, secure, startTls).map(oneLine).join(' ')
  const banner = oneLine(capabilities.banner)
  return {
    greeting: Buffer.from(`* OK [CAPABILITY ${list}]${banner === '' ? '' : ` ${banner}`}${CRLF}`),
    capabilityLine: `* CAPABILITY ${list}${CRLF}`,
    idLine: `* ID ${idList(capabilities.id)}${CRLF}`,
  }
}

/** What is advertised, in order. */
export function capabilityList(capabilities: ImapCapabilities, secure: boolean, startTls: boolean): string[] {
  const list = [...capabilities.advertise]
  if (startTls) list.push('STARTTLS')
  for (const mechanism of offeredMechanisms(capabilities, secure)) list.push(`AUTH=${mechanism}`)
  if (!credentialsAllowed(capabilities, secure) || !passwordsOffered(capabilities)) list.push('LOGINDISABLED')
  return list
}

/** A tagged line. */
export function tagged(tag: string, text: string): Buffer {
  return Buffer.from(`${tag} ${text}${CRLF}`, 'latin1')
}

/** An untagged line (with its line end) and a tagged one. */
export function untaggedThenTagged(line: string, tag: string, text: string): Buffer {
  return Buffer.from(`${line}${tag} ${text}${CRLF}`)
}

export function logout(tag: string): Buffer {
  return untaggedThenTagged(BYE_LOGOUT, tag, TAGGED.logout)
}

/** A failed attempt, in our words or the backend's; the last one says goodbye as well. */
function failure(tag: string, text: string | Buffer, final: boolean): Buffer {
  const goodbye = final ? BYE_TOO_MANY_ATTEMPTS : ''
  if (typeof text === 'string') return Buffer.from(`${tag} ${text}${CRLF}${goodbye}`, 'latin1')
  return Buffer.concat([Buffer.from(`${tag} `, 'latin1'), text, Buffer.from(CRLF + goodbye)])
}

/** A continuation request that carries base64. */
function continuation(base64: Buffer): Buffer {
  return Buffer.from(`+ ${base64.toString('latin1')}${CRLF}`, 'latin1')
}

function idList(fields: ImapCapabilities['id']): string {
  if (fields.length === 0) return 'NIL'
  return `(${fields.map(([key, value]) => `${quoted(key)} ${quoted(value)}`).join(' ')})`
}

function quoted(value: string): string {
  return `"${oneLine(value).replace(/["\\]/g, '\\$&')}"`
}

/** Configured text can't break out of its line. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]/g, ' ').trim()
}
