/**
 * Every word that the proxy itself says to a ManageSieve client, made once per listener and TLS state (RFC 5804 §1.2, §1.3,
 * §1.7).
 */
import type { ManageSieveCapabilities } from '../../config/config.ts'
import { offeredMechanisms } from '../../sasl/policy.ts'
import type { DialogueWords } from '../preauth-machine.ts'
import { writeString } from './wire.ts'

const CRLF = '\r\n'
const END = Buffer.from(CRLF)
const VERSION = '1.0'

/** Answers to AUTHENTICATE, without their line end. */
export const TEXTS = {
  failed: 'NO "Authentication failed"',
  badBase64: 'NO "Invalid base64 in authentication exchange"',
  badArguments: 'NO "Syntax error in arguments"',
  privacyRequired: 'NO (ENCRYPT-NEEDED) "Logins need TLS on this connection"',
  unsupportedMechanism: 'NO "Unsupported authentication mechanism"',
  unavailable: 'NO (TRYLATER) "Service temporarily unavailable, please try again later"',
} as const

const TOO_MANY_ATTEMPTS = `BYE "Too many failed authentication attempts"${CRLF}`

export const LINES = {
  noop: line('OK "NOOP completed"'),
  logout: line('OK "Logging out"'),
  startTls: line('OK "Begin TLS negotiation now"'),
  startTlsNotOffered: line('NO "STARTTLS is not offered"'),
  badArguments: line(TEXTS.badArguments),
  notBeforeLogin: line('NO "Unknown command, or not allowed before login"'),
  cancelled: line('NO "Authentication cancelled"'),
  unavailable: line(TEXTS.unavailable),
  tooBusy: line('BYE (TRYLATER) "Too many connections, please try again later"'),
  timeout: line('BYE "Login timed out"'),
  shutdown: line('BYE (TRYLATER) "Server is shutting down"'),
  tooManyCommands: line('BYE "Too many commands before login"'),
  lineTooLong: line('BYE "Line too long"'),
  literalTooLarge: line('BYE "Literal too large"'),
  literalForm: line('BYE "A literal of a client is written {n+}"'),
  bufferFull: line('BYE "Too much data before login"'),
  notManageSieve: line('BYE "This is a ManageSieve server"'),
  injection: line('BYE "Unexpected data behind STARTTLS"'),
} as const

/** The words of the dialogue that every protocol has. */
export const WORDS: DialogueWords<undefined> = {
  timeout: LINES.timeout,
  shutdown: LINES.shutdown,
  tooManyCommands: LINES.tooManyCommands,
  lineTooLong: LINES.lineTooLong,
  bufferFull: LINES.bufferFull,
  foreign: LINES.notManageSieve,
  injection: LINES.injection,
  failure: (_tag, text, final) => {
    const words = typeof text === 'string' ? Buffer.from(text, 'latin1') : text
    return Buffer.concat([words, Buffer.from(CRLF + (final ? TOO_MANY_ATTEMPTS : ''))])
  },
  unavailable: () => LINES.unavailable,
  cancelled: () => LINES.cancelled,
  challenge: (base64) => Buffer.concat([writeString(base64, 'server'), END]),
  failed: TEXTS.failed,
  badBase64: TEXTS.badBase64,
}

/** What a listener says in one TLS state: the capability block, ended each time by an OK. */
export interface ManageSieveReplies {
  readonly greeting: Buffer
  readonly capability: Buffer
  /** After TLS has begun, unasked (RFC 5804 §2.2). */
  readonly afterTls: Buffer
}

/** Makes the replies. `startTls`: it is offered now. */
export function manageSieveReplies(capabilities: ManageSieveCapabilities, secure: boolean, startTls: boolean): ManageSieveReplies {
  const block = capabilityList(capabilities, secure, startTls).map((entry) => entry.map(quoted).join(' ') + CRLF)
  const ended = (text: string): Buffer => Buffer.from(`${block.join('')}OK ${quoted(text)}${CRLF}`, 'latin1')
  return {
    greeting: ended(capabilities.banner),
    capability: ended('CAPABILITY completed'),
    afterTls: ended('TLS negotiation successful'),
  }
}

/** What is advertised, in order: a name each, some with a value behind it. */
export function capabilityList(
  capabilities: ManageSieveCapabilities,
  secure: boolean,
  startTls: boolean,
): string[][] {
  const list = [
    ['IMPLEMENTATION', capabilities.implementation],
    ['VERSION', VERSION],
    ['SASL', offeredMechanisms(capabilities, secure).join(' ')],
    ['SIEVE', capabilities.sieve.join(' ')],
  ]
  if (startTls) list.push(['STARTTLS'])
  return list
}

/** `OK (TAG "…") "…"` (RFC 5804 §2.13). */
export function tagged(tag: Buffer): Buffer {
  return Buffer.concat([Buffer.from('OK (TAG '), writeString(tag, 'server'), Buffer.from(`) "Done"${CRLF}`)])
}

function line(text: string): Buffer {
  return Buffer.from(text + CRLF, 'latin1')
}

/** Configured text can't break out of its line. */
function quoted(text: string): string {
  return writeString(Buffer.from(text.replace(/[\u0000-\u001f\u007f]/g, ' ').trim()), 'server').toString('latin1')
}
