/**
 * The client's half of a SASL exchange: what the proxy says to a backend when it repeats a login. Passwords go as
 * PLAIN, or as LOGIN to a backend that has only that; a token's message is repeated as it came. The protocol adds its
 * own framing and decides whether an initial response may be sent.
 */
import type { Mechanism } from '../config/config.ts'
import { impossible } from '../errors.ts'
import type { Credentials } from '../protocol/protocol.ts'
import { encodePlain } from './plain.ts'

/**
 * The mechanism to use with a backend that offers what `offers` says; undefined: none fits. LOGIN carries no
 * identity to act as, so a login with an authzid of its own needs PLAIN.
 */
export function chooseMechanism(
  credentials: Credentials,
  offers: (mechanism: Mechanism) => boolean,
): Mechanism | undefined {
  if (credentials.kind === 'token') return offers(credentials.mechanism) ? credentials.mechanism : undefined
  if (offers('PLAIN')) return 'PLAIN'
  return offers('LOGIN') && actsAsItself(credentials) ? 'LOGIN' : undefined
}

/** Whether name and password alone say everything, so that LOGIN or USER/PASS can carry them. */
export function actsAsItself(credentials: Credentials): boolean {
  return credentials.kind === 'password' && (credentials.authzid === '' || credentials.authzid === credentials.authcid)
}

export class SaslReplay {
  readonly mechanism: Mechanism
  readonly #credentials: Credentials
  #sent = 0

  constructor(credentials: Credentials, mechanism: Mechanism) {
    this.#credentials = credentials
    this.mechanism = mechanism
  }

  /** The message that may go with the command, in base64; undefined: the backend speaks first (LOGIN). */
  get initial(): string | undefined {
    return this.mechanism === 'LOGIN' ? undefined : this.#message().toString('base64')
  }

  /** The initial response went out with the command. */
  initialSent(): void {
    this.#sent = 1
  }

  /**
   * The answer to a challenge, base64 encoded. 'relay': the challenge is for the client itself (the failure of a
   * token, RFC 7628 §3.2.3). 'unexpected': the mechanism has nothing more to say.
   */
  next(): { readonly text: string } | 'relay' | 'unexpected' {
    const step = this.#sent++
    if (step === 0 || (step === 1 && this.mechanism === 'LOGIN')) return { text: this.#answer(step) }
    return this.#credentials.kind === 'token' ? 'relay' : 'unexpected'
  }

  #answer(step: number): string {
    const credentials = this.#credentials
    if (this.mechanism !== 'LOGIN' || credentials.kind === 'token') return this.#message().toString('base64')
    return (step === 0 ? Buffer.from(credentials.authcid) : credentials.password).toString('base64')
  }

  #message(): Buffer {
    const credentials = this.#credentials
    switch (credentials.kind) {
      case 'password':
        return encodePlain(credentials)
      case 'token':
        return credentials.message
      default:
        return impossible(credentials)
    }
  }
}
