/**
 * The LOGIN mechanism (draft-murchison-sasl-login, never an RFC, spoken by many old clients): the server asks for
 * name and password, one message each. The challenges are fixed texts and mean nothing.
 */
import { type PasswordCredentials, passwordCredentials } from './password.ts'

/** `Username:` in base64. */
export const LOGIN_USERNAME = Buffer.from(Buffer.from('Username:').toString('base64'))
/** `Password:` in base64. */
export const LOGIN_PASSWORD = Buffer.from(Buffer.from('Password:').toString('base64'))

const NO_AUTHZID = Buffer.alloc(0)

/** Joins both decoded messages; undefined: malformed. */
export function decodeLogin(username: Buffer, password: Buffer): PasswordCredentials | undefined {
  return passwordCredentials(NO_AUTHZID, username, password)
}
