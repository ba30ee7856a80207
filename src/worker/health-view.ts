/**
 * What a worker knows of the destinations' health: the primary's last verdicts. It decides whether a dial may begin and
 * whether its outcome is worth telling (a success only while there is a streak to clear), so that a healthy destination
 * costs no message per login.
 */
import type { ActorRef } from '../actor/message.ts'
import type { Clock } from '../clock.ts'
import type { DialOutcome } from '../destination/backend.ts'
import type { HealthMessage, Verdict } from '../primary/health.ts'

/** How long the primary may take to allow a probe. */
const PROBE_DEADLINE_MS = 2_000

export class HealthView {
  readonly #verdicts = new Map<string, Verdict>()
  readonly #health: ActorRef<HealthMessage>
  readonly #clock: Clock

  constructor(health: ActorRef<HealthMessage>, clock: Clock, verdicts: readonly Verdict[]) {
    this.#health = health
    this.#clock = clock
    for (const verdict of verdicts) this.told(verdict)
  }

  told(verdict: Verdict): void {
    this.#verdicts.set(verdict.destination, verdict)
  }

  /** Whether the destination may be dialled now. */
  admit(destination: string): boolean | Promise<boolean> {
    const verdict = this.#verdicts.get(destination)
    if (verdict === undefined || verdict.state !== 'down') return true
    if (this.#clock.now() < verdict.probeFrom) return false
    // No answer is no permission: the client is told to come again, which is what a destination that is down means.
    return this.#health.ask({ type: 'probe', destination }, PROBE_DEADLINE_MS).catch(() => false)
  }

  report(destination: string, client: string, outcome: DialOutcome): void {
    if (outcome.ok) {
      if (this.#verdicts.get(destination)?.state === 'healthy') return
      this.#health.tell({ type: 'outcome', destination, client, result: 'ok', error: '' })
      return
    }
    const { phase, error } = outcome
    this.#health.tell({ type: 'outcome', destination, client, result: phase, error: `${error.code}: ${error.message}` })
  }
}
