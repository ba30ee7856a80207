/**
 * Every word that the proxy itself says to a submission client, made once per listener, TLS state and name of the host. Codes
 * are those of RFC 5321 §4.2 and RFC 4954 §4 and §6, enhanced ones of RFC 3463 and RFC 5248. Whoever is sent away is told so with
 * 421, the one code that announces a close (RFC 5321 §3.8).
 */
import type { SubmissionCapabilities } from '../../config/config.ts'
import { credentialsAllowed, offeredMechanisms } from '../../sasl/policy.ts'
import type { DialogueWords } from '../preauth-machine.ts'

const CRLF = '\r\n'

/** Answers to AUTH, without their line end. */
export const TEXTS = {
  failed: '535 5.7.8 Authentication credentials invalid',
  badBase64: '501 5.5.2 Cannot decode that base64',
  badArguments: '501 5.5.4 Syntax error in arguments',
  privacyRequired: '538 5.7.11 Logins need TLS on this connection',
  unsupportedMechanism: '504 5.5.4 Unsupported authentication mechanism',
  unavailable: '454 4.7.0 Temporary authentication failure, please try again later',
} as const

const TOO_MANY_ATTEMPTS = `421 4.7.0 Too many failed authentication attempts${CRLF}`

export const LINES = {
  ok: line('250 2.0.0 OK'),
  help: line('214 2.0.0 See RFC 6409'),
  verify: line('252 2.5.2 Cannot verify here, send some mail and see'),
  goodbye: line('221 2.0.0 Bye'),
  startTls: line('220 2.0.0 Ready to start TLS'),
  startTlsNotOffered: line('502 5.5.1 STARTTLS is not offered'),
  startTlsDone: line('503 5.5.1 TLS is active already'),
  startTlsFirst: line('530 5.7.0 Must issue a STARTTLS command first'),
  authFirst: line('530 5.7.0 Authentication required'),
  ehloFirst: line('503 5.5.1 Send EHLO first'),
  badName: line('501 5.5.4 Syntax: the name of the client is missing or malformed'),
  badArguments: line(TEXTS.badArguments),
  unknown: line('500 5.5.1 Unknown command'),
  notImplemented: line('502 5.5.1 Command not implemented'),
  cancelled: line('501 5.7.0 Authentication cancelled'),
  unavailable: line(TEXTS.unavailable),
  tooBusy: line('421 4.3.2 Too many connections, please try again later'),
  timeout: line('421 4.4.2 Login timed out'),
  shutdown: line('421 4.3.2 Server is shutting down'),
  tooManyCommands: line('421 4.7.0 Too many commands before login'),
  lineTooLong: line('421 4.5.2 Line too long'),
  bufferFull: line('421 4.7.0 Too much data before login'),
  notSubmission: line('421 4.7.0 This is a mail submission server'),
  injection: line('421 4.7.0 Unexpected data behind STARTTLS'),
} as const

/** The words of the dialogue that every protocol has. */
export const WORDS: DialogueWords<undefined> = {
  timeout: LINES.timeout,
  shutdown: LINES.shutdown,
  tooManyCommands: LINES.tooManyCommands,
  lineTooLong: LINES.lineTooLong,
  bufferFull: LINES.bufferFull,
  foreign: LINES.notSubmission,
  injection: LINES.injection,
  failure: (_tag, text, final) => {
    const words = typeof text === 'string' ? Buffer.from(text, 'latin1') : text
    return Buffer.concat([words, Buffer.from(CRLF + (final ? TOO_MANY_ATTEMPTS : ''))])
  },
  unavailable: () => LINES.unavailable,
  cancelled: () => LINES.cancelled,
  challenge: (base64) => line(`334 ${base64.toString('latin1')}`),
  failed: TEXTS.failed,
  badBase64: TEXTS.badBase64,
}

/** What a listener says in one TLS state under one name. */
export interface SubmissionReplies {
  readonly greeting: Buffer
  readonly ehlo: Buffer
  readonly helo: Buffer
  /** To MAIL and all that may only come after a login. */
  readonly loginFirst: Buffer
}

export interface ReplyFacts {
  readonly secure: boolean
  /** STARTTLS is offered now. */
  readonly startTls: boolean
  /** What the server calls itself. */
  readonly name: string
}

/** Makes the replies. */
export function submissionReplies(capabilities: SubmissionCapabilities, { secure, startTls, name }: ReplyFacts): SubmissionReplies {
  const banner = oneLine(capabilities.banner)
  const ehlo = [name, ...keywords(capabilities, secure, startTls)]
  return {
    greeting: line(`220 ${name}${banner === '' ? '' : ` ${banner}`}`),
    ehlo: Buffer.from(ehlo.map((text, index) => `250${index === ehlo.length - 1 ? ' ' : '-'}${text}${CRLF}`).join('')),
    helo: line(`250 ${name}`),
    loginFirst: startTls && !credentialsAllowed(capabilities, secure) ? LINES.startTlsFirst : LINES.authFirst,
  }
}

/** What is advertised, in order. */
export function keywords(capabilities: SubmissionCapabilities, secure: boolean, startTls: boolean): string[] {
  const lines = capabilities.ehlo.map(oneLine)
  if (startTls) lines.push('STARTTLS')
  const mechanisms = offeredMechanisms(capabilities, secure)
  if (mechanisms.length > 0) lines.push(`AUTH ${mechanisms.join(' ')}`)
  return lines
}

function line(text: string): Buffer {
  return Buffer.from(text + CRLF, 'latin1')
}

/** Configured text can't break out of its line. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]/g, ' ').trim()
}
