/** Listeners and options for the submission tests; logins are the other protocols'. */
import type { ListenerConfig, SubmissionCapabilities } from '../../../src/config/config.ts'
import { submission } from '../../../src/protocol/submission/submission.ts'
import type { BackendOptions, PreauthFactory } from '../../../src/protocol/protocol.ts'
import { testConfig, testListener } from '../../support/config.ts'
import { MECHANISMS } from '../imap/profile.ts'

export interface Wishes {
  readonly tls?: ListenerConfig['tls']
  readonly attempts?: number
  readonly buffer?: number
  /** undefined: the address of the connection. */
  readonly hostname?: string | undefined
  readonly submission?: Partial<SubmissionCapabilities>
}

export function listener(wishes: Wishes = {}): PreauthFactory {
  const { capabilities } = testConfig()
  const ours = {
    sasl: MECHANISMS,
    allowPlainAuthWithoutTls: false,
    banner: 'ready',
    ehlo: ['PIPELINING', 'SIZE 1000'],
    ...wishes.submission,
  }
  return submission.prepare({
    listener: testListener({ protocol: 'submission', tls: wishes.tls ?? 'implicit', maxAuthAttempts: wishes.attempts ?? 3 }),
    capabilities: { ...capabilities, submission: ours },
    hostname: 'hostname' in wishes ? wishes.hostname : 'mx.example.com',
    preauthBuffer: wishes.buffer ?? 65_536,
  })
}

export const FACTS = { heloName: 'me', esmtp: true }
export const OPTIONS: BackendOptions = { startTls: false, hideAuthErrors: false, announceClient: undefined, headerInClear: false, facts: FACTS }
