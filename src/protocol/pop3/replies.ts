/**
 * Every word that the proxy itself says to a POP3 client, made once. Response codes are those of RFC 2449 §8 and RFC 3206:
 * `[AUTH]` for a login that is wrong, `[SYS/TEMP]` for one that couldn't be tried.
 */
import type { Pop3Capabilities } from '../../config/config.ts'
import { credentialsAllowed, offeredMechanisms, passwordsOffered } from '../../sasl/policy.ts'
import type { DialogueWords } from '../preauth-machine.ts'

const CRLF = '\r\n'
const IMPLEMENTATION = 'Signalbox'

/** Answers without their line end. */
export const TEXTS = {
  failed: '-ERR [AUTH] Authentication failed',
  badBase64: '-ERR Invalid base64 in authentication exchange',
  privacyRequired: '-ERR [AUTH] Logins need TLS on this connection',
  passwordsNotOffered: '-ERR [AUTH] USER and PASS are not offered',
  unsupportedMechanism: '-ERR [AUTH] Unsupported authentication mechanism',
  unavailable: '-ERR [SYS/TEMP] Service temporarily unavailable, please try again later',
} as const

export const LINES = {
  ok: Buffer.from(`+OK${CRLF}`),
  password: Buffer.from(`+OK Send your password${CRLF}`),
  utf8: Buffer.from(`+OK UTF8 enabled${CRLF}`),
  goodbye: Buffer.from(`+OK Logging out${CRLF}`),
  startTls: Buffer.from(`+OK Begin TLS negotiation now${CRLF}`),
  startTlsNotOffered: Buffer.from(`-ERR STLS is not offered${CRLF}`),
  notBeforeLogin: Buffer.from(`-ERR Unknown command, or not allowed before login${CRLF}`),
  badArguments: Buffer.from(`-ERR Syntax error in arguments${CRLF}`),
  apop: Buffer.from(`-ERR APOP is not offered${CRLF}`),
  noUser: Buffer.from(`-ERR USER comes first${CRLF}`),
  cancelled: Buffer.from(`-ERR Authentication cancelled${CRLF}`),
  unavailable: Buffer.from(TEXTS.unavailable + CRLF),
  tooBusy: Buffer.from(`-ERR [SYS/TEMP] Too many connections, please try again later${CRLF}`),
  timeout: Buffer.from(`-ERR Login timed out${CRLF}`),
  shutdown: Buffer.from(`-ERR [SYS/TEMP] Server is shutting down${CRLF}`),
  tooManyCommands: Buffer.from(`-ERR Too many commands before login${CRLF}`),
  lineTooLong: Buffer.from(`-ERR Command line too long${CRLF}`),
  bufferFull: Buffer.from(`-ERR Too much data before login${CRLF}`),
  notPop3: Buffer.from(`-ERR This is a POP3 server${CRLF}`),
  injection: Buffer.from(`-ERR Unexpected data behind STLS${CRLF}`),
} as const

/** The words of the dialogue that every protocol has. Nothing needs to be said besides the last failure. */
export const WORDS: DialogueWords<undefined> = {
  timeout: LINES.timeout,
  shutdown: LINES.shutdown,
  tooManyCommands: LINES.tooManyCommands,
  lineTooLong: LINES.lineTooLong,
  bufferFull: LINES.bufferFull,
  foreign: LINES.notPop3,
  injection: LINES.injection,
  failure: (_tag, text) => (typeof text === 'string' ? Buffer.from(text + CRLF, 'latin1') : Buffer.concat([text, Buffer.from(CRLF)])),
  unavailable: () => LINES.unavailable,
  cancelled: () => LINES.cancelled,
  challenge: (base64) => Buffer.from(`+ ${base64.toString('latin1')}${CRLF}`, 'latin1'),
  failed: TEXTS.failed,
  badBase64: TEXTS.badBase64,
}

/** What a listener says in one TLS state. */
export interface Pop3Replies {
  readonly greeting: Buffer
  /** The answer to CAPA. */
  readonly capa: Buffer
  /** The answer to a bare AUTH: the mechanisms (as clients from before RFC 5034 ask for them). */
  readonly mechanisms: Buffer
}

/** Makes the replies. `startTls`: it is offered now. */
export function pop3Replies(capabilities: Pop3Capabilities, secure: boolean, startTls: boolean): Pop3Replies {
  const banner = oneLine(capabilities.banner)
  return {
    greeting: Buffer.from(`+OK${banner === '' ? '' : ` ${banner}`}${CRLF}`),
    capa: list('+OK Capability list follows', capaLines(capabilities, secure, startTls)),
    mechanisms: list('+OK Mechanisms follow', offeredMechanisms(capabilities, secure)),
  }
}

/** What is advertised, in order. */
export function capaLines(capabilities: Pop3Capabilities, secure: boolean, startTls: boolean): string[] {
  const lines = capabilities.capa.map(oneLine)
  if (startTls) lines.push('STLS')
  const mechanisms = offeredMechanisms(capabilities, secure)
  if (credentialsAllowed(capabilities, secure) && passwordsOffered(capabilities)) lines.push('USER')
  if (mechanisms.length > 0) lines.push(`SASL ${mechanisms.join(' ')}`)
  lines.push(`IMPLEMENTATION ${IMPLEMENTATION}`)
  return lines
}

function list(head: string, lines: readonly string[]): Buffer {
  return Buffer.from([head, ...lines.map((line) => (line.startsWith('.') ? `.${line}` : line)), '.', ''].join(CRLF))
}

/** Configured text can't break out of its line. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]/g, ' ').trim()
}
