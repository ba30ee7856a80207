/**
 * The cutover of one account as one act: hold its new logins everywhere, write the mapping, void its routes everywhere, end
 * the sessions that are elsewhere, release. What it needs of the instance is `CutoverGround`; who calls it has a confirmed
 * answer, or knows which step failed and what has become of the mapping.
 *
 * Each step needs every worker and every peer: an instance that has not obeyed may still send the account to the old
 * server, and then nothing is said to be done. A step that fails has the mapping put back, unless somebody else has
 * written it meanwhile. The one exception is the release: the move is in force then, and a hold that could not be
 * released ends by itself.
 *
 * The process may die anywhere in between. Holds and the lease end by themselves; the mapping is at its source whole, old or
 * new; peers that miss an instance look everything up again. Doing the act again completes it: an account that is mapped
 * already is still voided and freed of sessions that are elsewhere, just without a hold.
 */
import type { Clock } from '../clock.ts'
import { asSignalboxError, SignalboxError } from '../errors.ts'
import { CUTOVER_LEASE_MARGIN_MS } from '../limits.ts'
import type { Confirmation, CutoverAnswer, CutoverStep, StepOutcome } from '../management/operations.ts'
import type { LeaseHolder } from '../mapping/lease.ts'
import type { Exchanged } from '../mapping/source.ts'

/** What the act is carried out on. Confirmations never reject; whatever asks or writes the source may. */
export interface CutoverGround {
  /** As the source has it, past every cache. */
  lookup(identifier: string): Promise<string | undefined>
  lease(identifier: string, holder: LeaseHolder, ms: number): Promise<LeaseHolder | undefined>
  endLease(identifier: string, id: string): Promise<void>
  hold(identifier: string, id: string, ms: number): Promise<Confirmation>
  /** Commits, within `ms` milliseconds. */
  write(identifier: string, destination: string, ms: number): Promise<void>
  exchange(identifier: string, change: Exchanged): Promise<boolean>
  invalidate(identifier: string): Promise<Confirmation>
  /** Ends sessions that go elsewhere than to `except`; undefined: all. */
  kick(identifier: string, except: string | undefined): Promise<{ readonly kicked: number; readonly confirmation: Confirmation }>
  release(identifier: string, id: string): Promise<Confirmation>
}

export interface CutoverOrder {
  readonly identifier: string
  readonly destination: string
  /** Milliseconds that logins are held at most, and that the write may take. */
  readonly hold: number
  /** Of the lease, and its id that of the hold. */
  readonly holder: LeaseHolder
}

/** Codes of a write after which the source is as it was. */
const NOT_WRITTEN: ReadonlySet<string> = new Set(['SOURCE_CONFLICT', 'SOURCE_READ_ONLY', 'SOURCE_INVALID', 'BUS_PEER_LACKS', 'ACTOR_MAILBOX_FULL'])

/**
 * Carries it out. Rejects, with nothing changed, when the lease or the source can't be asked, and with
 * CLIENT_BAD_IDENTIFIER for an account that the source can't hold; every later failure is an answer.
 */
export async function cutover(ground: CutoverGround, clock: Clock, order: CutoverOrder): Promise<CutoverAnswer> {
  const { identifier, holder, hold } = order
  const act = new Act(ground, clock, order)
  try {
    const other = await ground.lease(identifier, holder, hold * 2 + CUTOVER_LEASE_MARGIN_MS)
    if (other !== undefined) return { result: 'busy', holder: other }
    return await act.carryOut()
  } finally {
    await act.endLease()
  }
}

/** A step that didn't come about everywhere. */
class StepFailed extends Error {
  readonly step: CutoverStep
  readonly reason: SignalboxError

  constructor(step: CutoverStep, reason: SignalboxError) {
    super(reason.message)
    this.step = step
    this.reason = reason
  }
}

class Act {
  readonly #ground: CutoverGround
  readonly #clock: Clock
  readonly #order: CutoverOrder
  readonly #began: number
  readonly #steps: StepOutcome[] = []
  readonly #confirmations: Confirmation[] = []
  #heldUntil = 0
  #ended = 0

  constructor(ground: CutoverGround, clock: Clock, order: CutoverOrder) {
    this.#ground = ground
    this.#clock = clock
    this.#order = order
    this.#began = clock.now()
  }

  async carryOut(): Promise<CutoverAnswer> {
    const { identifier, destination } = this.#order
    const before = await this.#ground.lookup(identifier)
    const there = before === destination
    try {
      if (!there) {
        await this.#step('hold', () => this.#hold())
        await this.#step('write', () => this.#ground.write(identifier, destination, this.#order.hold))
      }
      await this.#step('invalidate', () => this.#ground.invalidate(identifier))
      await this.#step('kick', () => this.#kick(destination))
      if (!there) await this.#release()
      return { result: there ? 'unchanged' : 'moved', from: before ?? null, ...this.#facts() }
    } catch (thrown) {
      if (!(thrown instanceof StepFailed)) throw thrown
      const { step, reason } = thrown
      const putBack = there || step === 'hold' ? 'not needed' : await this.#putBack(before, step, reason)
      if (!there) await this.#release()
      if (reason.code === 'CLIENT_BAD_IDENTIFIER') throw reason
      return { result: 'failed', step, error: reason, putBack, from: before ?? null, ...this.#facts() }
    }
  }

  /** Whoever doesn't have it ends nothing; one that can't be ended now ends by itself. */
  async endLease(): Promise<void> {
    const { identifier, holder } = this.#order
    try {
      await this.#ground.endLease(identifier, holder.id)
    } catch (thrown) {
      this.#steps.push({ step: 'lease', outcome: 'unconfirmed', ms: 0, reason: asSignalboxError(thrown).message })
    }
  }

  async #step(step: CutoverStep, work: () => Promise<Confirmation | void>): Promise<void> {
    const began = this.#clock.now()
    let reason: SignalboxError | undefined
    try {
      const confirmation = await work()
      if (confirmation !== undefined) {
        this.#confirmations.push(confirmation)
        reason = lacking(confirmation)
      }
    } catch (thrown) {
      reason = asSignalboxError(thrown)
    }
    const ms = this.#since(began)
    if (reason === undefined) {
      this.#steps.push({ step, outcome: 'ok', ms })
      return
    }
    this.#steps.push({ step, outcome: 'failed', ms, reason: reason.message })
    throw new StepFailed(step, reason)
  }

  #hold(): Promise<Confirmation> {
    const { identifier, hold, holder } = this.#order
    this.#heldUntil = this.#clock.now() + hold
    return this.#ground.hold(identifier, holder.id, hold)
  }

  async #kick(except: string | undefined): Promise<Confirmation> {
    const { kicked, confirmation } = await this.#ground.kick(this.#order.identifier, except)
    this.#ended += kicked
    return confirmation
  }

  /** What isn't released now ends by itself, so it fails nothing. */
  async #release(): Promise<void> {
    const { identifier, holder } = this.#order
    const began = this.#clock.now()
    let missing: SignalboxError | undefined
    try {
      const confirmation = await this.#ground.release(identifier, holder.id)
      this.#confirmations.push(confirmation)
      missing = lacking(confirmation)
    } catch (thrown) {
      missing = asSignalboxError(thrown)
    }
    const ms = this.#since(began)
    this.#steps.push({ step: 'release', ms, ...(missing === undefined ? { outcome: 'ok' } : { outcome: 'unconfirmed', reason: missing.message }) })
  }

  /** After a step that failed behind the hold. Never rejects. */
  async #putBack(before: string | undefined, failed: CutoverStep, reason: SignalboxError): Promise<'done' | 'not needed' | 'left' | 'failed'> {
    const { identifier, destination } = this.#order
    if (failed === 'write' && (NOT_WRITTEN.has(reason.code) || reason.code === 'CLIENT_BAD_IDENTIFIER')) return 'not needed'
    const began = this.#clock.now()
    let done: 'done' | 'not needed' | 'left' | 'failed'
    let why: string | undefined
    try {
      if (await this.#ground.exchange(identifier, { from: destination, to: before })) done = 'done'
      else done = (await this.#ground.lookup(identifier)) === before ? 'not needed' : 'left'
      // A route of the time in between may be cached.
      const missing = lacking(await this.#ground.invalidate(identifier))
      // When the hold has run out meanwhile, somebody may have come in where the account is not any more.
      if (done === 'done' && this.#clock.now() >= this.#heldUntil) await this.#kick(before)
      why = missing?.message
    } catch (thrown) {
      done = 'failed'
      why = asSignalboxError(thrown).message
    }
    const outcome = done === 'failed' ? 'failed' : why === undefined ? 'ok' : 'unconfirmed'
    this.#steps.push({ step: 'put_back', outcome, ms: this.#since(began), ...(why === undefined ? {} : { reason: why }) })
    return done
  }

  #facts() {
    return { sessionsEnded: this.#ended, steps: this.#steps, ms: this.#since(this.#began), confirmation: together(this.#confirmations) }
  }

  /** Milliseconds with one decimal. */
  #since(began: number): number {
    return Math.round((this.#clock.now() - began) * 10) / 10
  }
}

/** Who has not obeyed; undefined: everybody has. */
function lacking({ workers, workersExpected, peers, bus }: Confirmation): SignalboxError | undefined {
  const silent = peers.filter(({ acknowledged }) => !acknowledged).map(({ instance }) => instance)
  const missing = [
    ...(workers < workersExpected ? [`${workersExpected - workers} of ${workersExpected} workers of this instance`] : []),
    ...(silent.length > 0 ? [`${silent.length === 1 ? 'peer' : 'peers'} ${silent.join(', ')}`] : []),
  ]
  if (missing.length > 0) return new SignalboxError('ACTOR_DEADLINE', `not confirmed by ${missing.join(' and ')}`)
  return bus === 'down' ? new SignalboxError('BUS_DOWN', 'the bus is down: peers cannot be asked') : undefined
}

/** Confirmed is what was confirmed in every step. */
function together(confirmations: readonly Confirmation[]): Confirmation {
  const peers = new Map<string, boolean>()
  for (const { instance, acknowledged } of confirmations.flatMap((one) => one.peers)) {
    peers.set(instance, acknowledged && (peers.get(instance) ?? true))
  }
  const worst = confirmations.toSorted((a, b) => a.workers - a.workersExpected - (b.workers - b.workersExpected))[0]
  return {
    workers: worst?.workers ?? 0,
    workersExpected: worst?.workersExpected ?? 0,
    peers: [...peers].map(([instance, acknowledged]) => ({ instance, acknowledged })),
    bus: confirmations.some(({ bus }) => bus === 'down') ? 'down' : (worst?.bus ?? 'none'),
  }
}
