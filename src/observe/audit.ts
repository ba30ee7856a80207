/**
 * The audit trail of the management API: one line per change that was asked for, whatever came of it. Written at `info`
 * whatever the log's level is, since a trail with gaps is none. The account is redacted here and nowhere earlier, so that
 * no caller can forget to.
 */
import type { Logger } from './log.ts'
import type { Redactor } from './redaction.ts'

export interface AuditEntry {
  /** What was asked for: `mapping_put`, `connections_kick` … */
  readonly change: string
  /** As it is; the trail redacts it. */
  readonly account?: string
  readonly destination?: string
  /** The operator's address. */
  readonly client: string
  /** `ok`, or the code of what went wrong. */
  readonly outcome: string
  /** Status of the answer. */
  readonly status: number
  readonly seconds: number
  readonly confirmation?: {
    readonly workers: number
    readonly workersExpected: number
    readonly peers: readonly { readonly instance: string; readonly acknowledged: boolean }[]
    readonly bus: string
  }
  /** Numbers that belong to the change: `kicked`, `removed`, `added` … */
  readonly facts?: Readonly<Record<string, string | number | boolean>>
}

export type Audit = (entry: AuditEntry) => void

/** The trail that goes into the log of this process. */
export function createAudit(log: Logger, redact: Redactor): Audit {
  const trail = log.child({ event: 'audit' }, { level: 'info' })
  return ({ account, confirmation, ...entry }) => {
    trail.info(
      {
        ...entry,
        ...(account === undefined ? {} : { account: redact(account) }),
        ...(confirmation === undefined
          ? {}
          : {
              workers: confirmation.workers,
              workers_expected: confirmation.workersExpected,
              acknowledged: confirmation.peers.filter((peer) => peer.acknowledged).map((peer) => peer.instance),
              unconfirmed: confirmation.peers.filter((peer) => !peer.acknowledged).map((peer) => peer.instance),
              bus: confirmation.bus,
            }),
      },
      'a change was asked for',
    )
  }
}
