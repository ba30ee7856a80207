/** Listeners and options for the ManageSieve tests; logins are the other protocols'. */
import type { ListenerConfig, ManageSieveCapabilities } from '../../../src/config/config.ts'
import { managesieve } from '../../../src/protocol/managesieve/managesieve.ts'
import type { BackendOptions, PreauthFactory } from '../../../src/protocol/protocol.ts'
import { testConfig, testListener } from '../../support/config.ts'
import { MECHANISMS } from '../imap/profile.ts'

export interface Wishes {
  readonly tls?: ListenerConfig['tls']
  readonly attempts?: number
  readonly buffer?: number
  readonly managesieve?: Partial<ManageSieveCapabilities>
}

export function listener(wishes: Wishes = {}): PreauthFactory {
  const { capabilities } = testConfig()
  const ours = {
    sasl: MECHANISMS,
    allowPlainAuthWithoutTls: false,
    banner: 'ready',
    sieve: ['fileinto', 'vacation'],
    implementation: 'The "box"',
    ...wishes.managesieve,
  }
  return managesieve.prepare({
    listener: testListener({ protocol: 'managesieve', tls: wishes.tls ?? 'implicit', maxAuthAttempts: wishes.attempts ?? 3 }),
    capabilities: { ...capabilities, managesieve: ours },
    hostname: undefined,
    preauthBuffer: wishes.buffer ?? 65_536,
  })
}

export const OPTIONS: BackendOptions = { startTls: false, hideAuthErrors: false, announceClient: undefined, headerInClear: false, facts: {} }
