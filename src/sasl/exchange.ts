/**
 * The server's half of a SASL exchange with a client (RFC 4422), up to the point where its credentials are known.
 * A protocol feeds it the base64 text of each message, with its own framing taken off, and does what the step says.
 * `=` alone is an empty initial response, `*` cancels (RFC 9051 §6.2.2, 5034, 4954). Nothing here is ever verified: that
 * is the backend's.
 */
import { SignalboxError } from '../errors.ts'
import type { Mechanism } from '../config/config.ts'
import { SASL_LINE } from '../limits.ts'
import type { Credentials } from '../protocol/protocol.ts'
import { decodeBase64 } from './base64.ts'
import { LOGIN_PASSWORD, LOGIN_USERNAME, decodeLogin } from './login.ts'
import { decodeOauthBearer } from './oauthbearer.ts'
import { decodePlain } from './plain.ts'
import { decodeXoauth2 } from './xoauth2.ts'

export type SaslStep =
  /** Send this (base64, may be empty) and wait for the client's next message. */
  | { readonly kind: 'challenge'; readonly text: Buffer }
  | { readonly kind: 'credentials'; readonly credentials: Credentials }
  | { readonly kind: 'cancelled' }
  /** The attempt has failed: not base64, or not a message of the mechanism. */
  | { readonly kind: 'malformed'; readonly reason: 'base64' | 'message' }

const EMPTY = Buffer.alloc(0)
const EQUALS = 0x3d
const ASTERISK = 0x2a

const CANCELLED: SaslStep = { kind: 'cancelled' }
const BAD_BASE64: SaslStep = { kind: 'malformed', reason: 'base64' }
const BAD_MESSAGE: SaslStep = { kind: 'malformed', reason: 'message' }
const ASK: SaslStep = { kind: 'challenge', text: EMPTY }
const ASK_USERNAME: SaslStep = { kind: 'challenge', text: LOGIN_USERNAME }
const ASK_PASSWORD: SaslStep = { kind: 'challenge', text: LOGIN_PASSWORD }

/** A message of an exchange under way, base64 decoded; 'cancel' for `*`; undefined: not base64, or too long. */
export function readResponse(text: Buffer): Buffer | 'cancel' | undefined {
  if (text.length === 1 && text[0] === ASTERISK) return 'cancel'
  return text.length > SASL_LINE ? undefined : decodeBase64(text)
}

export class SaslExchange {
  readonly mechanism: Mechanism
  /** LOGIN: the name, while the password is awaited. */
  #username: Buffer | undefined

  constructor(mechanism: Mechanism) {
    this.mechanism = mechanism
  }

  /** The first step. `initial` is the initial response as written; undefined: the client sent none. */
  begin(initial: Buffer | undefined): SaslStep {
    if (initial === undefined) return this.mechanism === 'LOGIN' ? ASK_USERNAME : ASK
    if (initial.length === 1 && initial[0] === EQUALS) return this.#message(EMPTY)
    // There is nothing to cancel yet: `*` is no base64 here.
    return initial.length > SASL_LINE ? BAD_BASE64 : this.#decoded(decodeBase64(initial))
  }

  /** A further message of the client. */
  answer(text: Buffer): SaslStep {
    const response = readResponse(text)
    return response === 'cancel' ? CANCELLED : this.#decoded(response)
  }

  #decoded(message: Buffer | undefined): SaslStep {
    return message === undefined ? BAD_BASE64 : this.#message(message)
  }

  #message(message: Buffer): SaslStep {
    switch (this.mechanism) {
      case 'PLAIN':
        return outcome(decodePlain(message))
      case 'OAUTHBEARER':
        return outcome(decodeOauthBearer(message))
      case 'XOAUTH2':
        return outcome(decodeXoauth2(message))
      case 'LOGIN': {
        if (this.#username !== undefined) return outcome(decodeLogin(this.#username, message))
        if (message.length === 0) return BAD_MESSAGE
        this.#username = message
        return ASK_PASSWORD
      }
      default:
        throw new SignalboxError('INTERNAL', 'unknown mechanism')
    }
  }
}

function outcome(credentials: Credentials | undefined): SaslStep {
  return credentials === undefined ? BAD_MESSAGE : { kind: 'credentials', credentials }
}
