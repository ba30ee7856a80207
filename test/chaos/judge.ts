/**
 * The model: what every account's mapping has been, what each instance has acknowledged, and which faults explain what. It
 * says of each visit whether it may have gone as it did:
 *
 * - Nobody is let in at a destination older than what the instance had acknowledged when the client set out (test/model/ledger.ts).
 * - Nobody is cut off, sent away or not listened to unless a fault can have done just that, there, at that moment (causes.ts).
 * - Nobody is left unanswered, gets other bytes, or hears "wrong password", whatever is broken.
 *
 * A write whose outcome nobody knows may take effect later: its account is left alone until the next calm, when the store is read.
 */
import { systemClock } from '../../src/clock.ts'
import type { Clock } from '../../src/clock.ts'
import { Ledger } from '../model/ledger.ts'
import type { Value } from '../model/ledger.ts'
import { Causes } from './causes.ts'
import type { Begun, Covers, Effect, Graces, Met } from './causes.ts'
import type { Trip } from './crowd.ts'
import { DEFAULT } from './fleet.ts'
import { isPassed, Trace } from './trace.ts'
import type { Visit } from './visit.ts'

/** By when a change that was answered, or written by hand, has reached who is about to log in. */
const MOVED_MS = 1_000
/** What the log said of the account goes with a violation. */
const LINES_AROUND = 150
const EVERYDAY: readonly unknown[] = ['login', 'login_unavailable', 'session_closed', 'passed_through', 'audit']
const STORY_LINES = 12

/** When what was logged has been read, log lines that wait for others included. */
const READ_MS = 1_500

export class Judge {
  readonly tally: Record<Visit['outcome'] | 'bytes', number> = { served: 0, cut: 0, busy: 0, ended: 0, absent: 0, bytes: 0 }
  /** Logins whose destination was compared with the model. */
  judged = 0
  /** Changes that were answered 200. */
  confirmed = 0
  /** Changes whose outcome nobody knew. */
  unknown = 0
  /** Rendered late: the log may be behind. */
  readonly #violations: (() => string)[] = []
  readonly #ledger = new Ledger({ bus: Number.POSITIVE_INFINITY, watch: Number.POSITIVE_INFINITY, life: Number.POSITIVE_INFINITY })
  readonly #accounts: readonly string[]
  readonly #members: readonly string[]
  /** Accounts that somebody changes, or whose last change has an unknown outcome. */
  readonly #taken = new Set<string>()
  readonly #loose = new Set<string>()
  /** Until when a change of an account may overtake a login. */
  readonly #changed = new Map<string, number>()
  readonly #stories = new Map<string, string[]>()
  readonly #clock: Clock
  readonly #causes: Causes
  /** What a fault explains if the log says so, too, which it may not have said yet. */
  #doubtful: { readonly met: Met; readonly violated: () => void }[] = []

  constructor(accounts: readonly string[], members: readonly string[], clock: Clock = systemClock) {
    this.#accounts = accounts
    this.#members = members
    this.#clock = clock
    this.#causes = new Causes(clock)
  }

  /** Whether nobody is changing the account. */
  free(account: string): boolean {
    return !this.#taken.has(account) && !this.#loose.has(account)
  }

  value(account: string): Value {
    return this.#ledger.value(account)
  }

  /** How many so far. */
  get violated(): number {
    return this.#violations.length
  }

  violations(): readonly string[] {
    return this.#violations.map((text) => text())
  }

  violation(what: string): void {
    this.#violations.push(() => what)
  }

  /** A fault begins; `over` says when it ends. See Causes.begin. */
  begin(graces: Graces, covers: Covers, shown?: Covers): Begun {
    return this.#causes.begin(graces, covers, shown)
  }

  /** See Causes.hold. */
  hold(covers: (trip: Trip) => boolean): { over(): void } {
    return this.#causes.hold(covers)
  }

  /** All faults are over and all is well: what happens from now on has no excuse. */
  calm(): void {
    this.#causes.calm()
  }

  /** Judges what only the log can explain. Resolves when nothing of that is left. */
  async settled(): Promise<void> {
    while (this.#settle() > 0) await this.#clock.sleep(50)
  }

  /** Whether any instance may send the account there. */
  allows(account: string, destination: string): boolean {
    return this.#members.some((member) => this.#wrongPlace(account, destination, this.#floor(member, account)) === undefined)
  }

  /** A client is about to set out; the result judges how it came back. */
  setOut(trip: Trip): (result: Visit) => void {
    const floor = this.#floor(trip.member.name, trip.account)
    const { box } = trip.member
    return (result) => {
      this.tally[result.outcome]++
      this.tally.bytes += result.bytes
      const { outcome, destination, wrong } = result
      if (wrong !== undefined) this.violation(wrong)
      else if (outcome !== 'served') this.#explain(outcome, trip, result, floor, box)
      if (destination === undefined) return
      this.judged++
      const place = isPassed(trip) ? (destination === DEFAULT ? undefined : `${trip.door.protocol} on ${destination}`) : this.#wrongPlace(trip.account, destination, floor)
      if (place !== undefined) this.violation(`${trip.member.name}, ${trip.door.protocol} ${trip.door.tls}: ${place}`)
    }
  }

  /** Remembers what was done to an account, for a violation's story. */
  told(account: string, what: string): void {
    const lines = this.#stories.get(account) ?? []
    lines.push(`  ${new Date(this.#clock.wall()).toISOString()} ${what}`)
    this.#stories.set(account, lines.slice(-STORY_LINES))
  }

  /** Everybody knows where the account is. */
  known(account: string, value: Value): void {
    if (value !== this.#ledger.value(account)) this.#ledger.committed(account, value, undefined, this.#clock.now())
    for (const member of this.#members) this.#ledger.acknowledged(member, account, this.#ledger.latest(account))
  }

  /** A change is about to be asked for. From now on clients may be there. */
  changing(account: string, value: Value, member: string): Change {
    this.#taken.add(account)
    const before = this.#ledger.value(account)
    this.#ledger.committed(account, value, member, this.#clock.now())
    const version = this.#ledger.latest(account)
    return {
      acknowledged: (names) => {
        for (const name of names) this.#ledger.acknowledged(name, account, version)
      },
      over: (outcome) => {
        this.#changed.set(account, this.#clock.now() + MOVED_MS)
        this.#taken.delete(account)
        if (outcome === 'done') this.confirmed++
        else if (outcome === 'nothing') this.#ledger.committed(account, before, undefined, this.#clock.now())
        else {
          this.unknown++
          this.#loose.add(account)
        }
      },
    }
  }

  /** Somebody emptied the store. */
  emptied(): void {
    for (const account of this.#accounts) {
      this.told(account, 'the store was emptied')
      this.#ledger.committed(account, undefined, undefined, this.#clock.now())
      this.#changed.set(account, this.#clock.now() + MOVED_MS)
    }
  }

  /** What the store holds in a calm: unknown outcomes become known, and known ones must be there. */
  read(account: string, value: Value): void {
    if (!this.#loose.delete(account) && value !== this.#ledger.value(account)) {
      this.violation(`${account}: the store holds ${value ?? 'nothing'} instead of ${this.#ledger.value(account) ?? 'nothing'}, which was confirmed\n${(this.#stories.get(account) ?? []).join('\n')}`)
    }
    this.known(account, value)
  }

  #floor(member: string, account: string): number {
    return this.#ledger.floors({ instance: member, watches: false }, account, this.#clock.now()).always
  }

  #wrongPlace(account: string, destination: string, floor: number): string | undefined {
    return this.#ledger.violation(account, destination === DEFAULT ? undefined : destination, false, { always: floor, asked: floor })
  }

  #explain(outcome: Effect, trip: Trip, { destination, began, arrived, alive, noticed }: Visit, floor: number, box: Trip['member']['box']): void {
    const { account } = trip
    const passed = isPassed(trip)
    // Who logs in while the account moves may be asked to come again.
    if (outcome === 'busy' && !passed && (!this.free(account) || (this.#changed.get(account) ?? 0) >= alive)) return
    const moved = destination === undefined ? (this.#changed.get(account) ?? 0) >= began : destination !== (this.#ledger.value(account) ?? DEFAULT)
    const left = !passed && (moved || !this.free(account))
    // Before an answer nobody knows which server it would have been, and each request of HTTP may go to another.
    const mayGo = (name: string): boolean => (passed ? name === DEFAULT : this.#wrongPlace(account, name, floor) === undefined)
    const settled = destination !== undefined && trip.door.protocol !== 'http'
    const goes: Met['goes'] = (names) => names.some((name) => name === destination || (!settled && mayGo(name)))
    const logs = (): (typeof box.lines)[] => (trip.member.box === box ? [box.lines] : [box.lines, trip.member.box.lines])
    const trace = new Trace({ trip, logs, clock: this.#clock, began, arrived })
    const met: Met = { trip, outcome, destination, alive, noticed, goes, left, trace }
    const from = box.lines.length
    const offset = this.#clock.wall() - this.#clock.now()
    const at = (time: number): string => new Date(time + offset).toISOString()
    const what = `${trip.member.name}, ${trip.door.protocol} ${trip.door.tls}, ${account}, from ${at(began)}: ${outcome}${destination === undefined ? '' : ` on ${destination}`} between ${at(alive)} and ${at(noticed)} without a fault that explains it`
    const violated = (): void =>
      void this.#violations.push(() => {
        const near = box.lines.slice(Math.max(0, from - LINES_AROUND), from + LINES_AROUND)
        const said = near.filter(({ account: whose, event }) => whose === account || !EVERYDAY.includes(event))
        return [what, ...said.map(({ text }) => `  ${text}`), ...(this.#stories.get(account) ?? [])].join('\n')
      })
    const verdict = this.#causes.explains(met)
    if (verdict === 'no') violated()
    else if (verdict === 'asked') this.#doubtful.push({ met, violated })
  }

  /** Says how many are left whose log may not have been read. */
  #settle(): number {
    const read = this.#clock.now() - READ_MS
    const ripe = this.#doubtful.filter(({ met }) => met.noticed <= read)
    this.#doubtful = this.#doubtful.filter(({ met }) => met.noticed > read)
    for (const { met, violated } of ripe) if (!this.#causes.shown(met)) violated()
    return this.#doubtful.length
  }
}

/** A change under way. */
export interface Change {
  /** These instances have it in force. */
  acknowledged(members: readonly string[]): void
  /** @param outcome unknown: nobody knows whether it was, or will be, carried out */
  over(outcome: 'done' | 'nothing' | 'unknown'): void
}
