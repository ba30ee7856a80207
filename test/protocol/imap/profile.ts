/** Listeners, logins and options for the IMAP tests. */
import type { CapabilitiesConfig, ImapCapabilities, ListenerConfig, Mechanism } from '../../../src/config/config.ts'
import type { BackendOptions, Login, PreauthFactory } from '../../../src/protocol/protocol.ts'
import { imap } from '../../../src/protocol/imap/imap.ts'

export const MECHANISMS: readonly Mechanism[] = ['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2']

export interface Wishes {
  readonly tls?: ListenerConfig['tls']
  readonly attempts?: number
  readonly buffer?: number
  readonly imap?: Partial<ImapCapabilities>
}

export function listener(wishes: Wishes = {}): PreauthFactory {
  const rest = { sasl: MECHANISMS, allowPlainAuthWithoutTls: false, banner: 'ready' }
  const capabilities: CapabilitiesConfig = {
    imap: { ...rest, advertise: ['IMAP4rev1', 'SASL-IR', 'LITERAL-', 'ID', 'ENABLE'], id: [], ...wishes.imap },
    pop3: { ...rest, capa: [] },
    managesieve: { ...rest, sieve: [], implementation: '' },
    submission: { ...rest, ehlo: [] },
  }
  return imap.prepare({
    listener: {
      name: 'test',
      protocol: 'imap',
      bind: [],
      tls: wishes.tls ?? 'implicit',
      proxyProtocol: 'off',
      proxyTrusted: [],
      maxConnections: 10,
      preauthTimeout: 30_000,
      maxAuthAttempts: wishes.attempts ?? 3,
      forwarded: 'off',
    },
    capabilities,
    hostname: undefined,
    preauthBuffer: wishes.buffer ?? 65_536,
  })
}

export const OPTIONS: BackendOptions = { startTls: false, hideAuthErrors: false, announceClient: undefined, headerInClear: false, facts: {} }

export function passwordLogin(authcid: string, password: string, facts: Login['facts'] = { tag: 'c7' }, authzid = ''): Login {
  return {
    mechanism: 'PLAIN',
    credentials: { kind: 'password', authzid, authcid, password: Buffer.from(password, 'latin1') },
    facts,
  }
}

export function tokenLogin(mechanism: 'OAUTHBEARER' | 'XOAUTH2', message: string): Login {
  return {
    mechanism,
    credentials: { kind: 'token', mechanism, message: Buffer.from(message), user: undefined, token: 't' },
    facts: { tag: 'c7' },
  }
}

export function base64(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64')
}
