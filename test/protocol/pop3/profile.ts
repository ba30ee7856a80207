/** Listeners and options for the POP3 tests. */
import type { ListenerConfig, Pop3Capabilities } from '../../../src/config/config.ts'
import { pop3 } from '../../../src/protocol/pop3/pop3.ts'
import type { BackendOptions, PreauthFactory } from '../../../src/protocol/protocol.ts'
import { testConfig, testListener } from '../../support/config.ts'

export interface Wishes {
  readonly tls?: ListenerConfig['tls']
  readonly attempts?: number
  readonly buffer?: number
  readonly pop3?: Partial<Pop3Capabilities>
}

export function listener(wishes: Wishes = {}): PreauthFactory {
  const { capabilities } = testConfig()
  return pop3.prepare({
    listener: testListener({ protocol: 'pop3', tls: wishes.tls ?? 'implicit', maxAuthAttempts: wishes.attempts ?? 3 }),
    capabilities: {
      ...capabilities,
      pop3: {
        sasl: ['PLAIN', 'LOGIN', 'OAUTHBEARER', 'XOAUTH2'],
        allowPlainAuthWithoutTls: false,
        banner: 'ready',
        capa: ['TOP', 'UIDL', 'UTF8'],
        ...wishes.pop3,
      },
    },
    hostname: undefined,
    preauthBuffer: wishes.buffer ?? 65_536,
  })
}

export const OPTIONS: BackendOptions = { startTls: false, hideAuthErrors: false, announceClient: undefined, headerInClear: false, facts: {} }
