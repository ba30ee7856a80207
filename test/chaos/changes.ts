/** Operators at work while all goes wrong: mappings, cutovers, kicks and invalidations by the management API, told to the judge. */
import { systemClock } from '../../src/clock.ts'
import type { AdminAnswer } from '../support/signalbox.ts'
import type { Begun, Graces, Met } from './causes.ts'
import type { ChaosFleet, Member } from './fleet.ts'
import type { Judge } from './judge.ts'
import type { Random } from './random.ts'
import { isPassed } from './trace.ts'

const LANES = 3
const REST_MS = 60
/** What an act that was answered may still do to a login under way. */
const MOMENT_MS = 1_000
/** What peers that have not confirmed may still do: the message waits for them in a bus that stands still. */
const UNCONFIRMED_MS = 10_000
/** By the log, a session was kicked that near the moment at which the client knew. */
const NEAR_MS = 1_000
const KICKED: Graces = { cut: MOMENT_MS, ended: MOMENT_MS, busy: MOMENT_MS }
/** What docs/management.md says of these: nothing was written, unless the sentence says that it may have been. */
const NOTHING_DONE: readonly unknown[] = ['SOURCE_WRITE', 'SOURCE_CONFLICT', 'CUTOVER_UNDER_WAY', 'DRAINING']

export class Operators {
  readonly done = { put: 0, delete: 0, cutover: 0, kick: 0, invalidate: 0, failed: 0 }
  readonly #fleet: ChaosFleet
  readonly #judge: Judge
  readonly #accounts: readonly string[]
  readonly #random: Random
  readonly #running: Promise<void>[]
  #next = 0
  #halted: (() => void)[] | undefined
  #busy = 0
  #over = false

  constructor(fleet: ChaosFleet, judge: Judge, accounts: readonly string[], random: Random) {
    this.#fleet = fleet
    this.#judge = judge
    this.#accounts = accounts
    this.#random = random
    this.#running = Array.from({ length: LANES }, () => this.#lane())
  }

  /** Nothing is begun until `resume`; resolves when nothing is under way. */
  async halt(): Promise<void> {
    this.#halted ??= []
    while (this.#busy > 0) await systemClock.sleep(5)
  }

  resume(): void {
    const waiting = this.#halted ?? []
    this.#halted = undefined
    for (const go of waiting) go()
  }

  async stop(): Promise<void> {
    this.#over = true
    this.resume()
    await Promise.all(this.#running)
  }

  /** Puts an account somewhere else. True: confirmed by all. */
  async put(member: Member, account: string): Promise<boolean> {
    return (await this.#change(member, account, 'put')) === 'all'
  }

  async #lane(): Promise<void> {
    while (!this.#over) {
      await systemClock.sleep(this.#random.between(0, 2 * REST_MS))
      if (this.#halted !== undefined) await new Promise<void>((resolve) => this.#halted?.push(resolve))
      if (this.#over) return
      this.#busy++
      try {
        await this.#act()
      } finally {
        this.#busy--
      }
    }
  }

  async #act(): Promise<void> {
    const member = this.#random.pick(this.#fleet.members)
    const account = this.#random.pick(this.#accounts)
    const what = this.#random.between(1, 100)
    if (what > 90) {
      const kicked = what > 95
      this.done[kicked ? 'kick' : 'invalidate']++
      const cause = kicked ? this.#kicks(account) : this.#judge.begin({ busy: MOMENT_MS }, () => true)
      const answer = await asked(kicked ? member.box.admin.kick(account) : member.box.admin.request('POST', '/cache/invalidate'))
      cause.over(answer?.status === 200 && confirming(answer).length === this.#fleet.members.length - 1 ? MOMENT_MS : UNCONFIRMED_MS)
      return
    }
    if (!this.#judge.free(account)) return
    const kind = what > 80 ? 'cutover' : what > 75 ? 'delete' : 'put'
    this.done[kind]++
    if ((await this.#change(member, account, kind)) === undefined) this.done.failed++
  }

  /** Undefined: the outcome is unknown. */
  async #change(member: Member, account: string, kind: 'put' | 'delete' | 'cutover'): Promise<'all' | 'some' | undefined> {
    const value = kind === 'delete' ? undefined : this.#fresh(account)
    const change = this.#judge.changing(account, value, member.name)
    let cutOver = false
    // Who is at the new place is left there, unless all is put back.
    const cause = kind === 'cutover' ? this.#kicks(account, ({ outcome, destination }) => outcome !== 'cut' || !cutOver || destination !== value) : undefined
    const answer = await asked(
      kind === 'put'
        ? member.box.admin.put(account, value ?? '')
        : kind === 'delete'
          ? member.box.admin.delete(account)
          : member.box.admin.request('POST', '/accounts/cutover', { identifier: account, destination: value ?? '', hold: '5' }),
    )
    const status = answer?.status
    cutOver = status === 200
    cause?.over(cutOver ? MOMENT_MS : UNCONFIRMED_MS)
    this.#judge.told(account, `${kind} ${value ?? '-'} by ${member.name}: ${status ?? 'no answer'} ${answer?.body ?? ''}`)
    const peers = answer === undefined ? [] : confirming(answer)
    // A cutover has no list of peers: its 200 says that all have obeyed.
    if (status === 200) change.acknowledged(kind === 'cutover' ? this.#fleet.members.map(({ name }) => name) : [member.name, ...peers])
    else if (status === 504) change.acknowledged(peers)
    change.over(status === 200 || status === 504 ? 'done' : NOTHING_DONE.includes(codeOf(answer)) && answer?.body.includes('may have been') !== true ? 'nothing' : 'unknown')
    if (status !== 200) return undefined
    return kind === 'cutover' || peers.length === this.#fleet.members.length - 1 ? 'all' : 'some'
  }

  /** An operator ends its sessions, in whatever stage; of those that were in the log says so. */
  #kicks(account: string, which: (met: Met) => boolean = () => true): Begun {
    return this.#judge.begin(
      KICKED,
      (met) => met.trip.account === account && !isPassed(met.trip) && which(met),
      ({ outcome, trace, alive, noticed }) => outcome !== 'cut' || trace.closedAs('kicked', alive - NEAR_MS, noticed + NEAR_MS),
    )
  }

  /** One that the account has not had for as long as possible, so that a name tells a version. Never the default one. */
  #fresh(account: string): string {
    const [, ...others] = this.#fleet.destinations
    const current = this.#judge.value(account)
    const name = others[this.#next++ % others.length] ?? ''
    return name === current ? this.#fresh(account) : name
  }
}

function codeOf(answer: AdminAnswer | undefined): unknown {
  const json = answer?.json
  return typeof json === 'object' && json !== null && 'code' in json ? json.code : undefined
}

/** Undefined: no answer. */
async function asked(request: Promise<AdminAnswer>): Promise<AdminAnswer | undefined> {
  try {
    return await request
  } catch {
    return undefined
  }
}

/** Peers that have acknowledged. */
function confirming({ json }: AdminAnswer): readonly string[] {
  const peers = typeof json === 'object' && json !== null && 'peers' in json && Array.isArray(json.peers) ? json.peers : []
  return peers.filter(({ acknowledged }: { acknowledged: boolean }) => acknowledged).map(({ instance }: { instance: string }) => instance)
}
