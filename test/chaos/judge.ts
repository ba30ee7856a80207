/**
 * The model: what every account's mapping has been, what each instance has acknowledged, and which faults explain what. It
 * says of each visit whether it may have gone as it did:
 *
 * - Nobody is let in at a destination older than what the instance had acknowledged when the client set out (test/model/ledger.ts).
 * - Nobody is cut off, sent away or not listened to unless a fault of that kind, at that place, overlaps the visit.
 * - Nobody is left unanswered, gets other bytes, or hears "wrong password", whatever is broken.
 *
 * A write whose outcome nobody knows may take effect later: its account is left alone until the next calm, when the store is read.
 */
import { systemClock } from '../../src/clock.ts'
import { Ledger } from '../model/ledger.ts'
import type { Value } from '../model/ledger.ts'
import type { Trip } from './crowd.ts'
import { DEFAULT } from './fleet.ts'
import type { Visit } from './visit.ts'

/** What a fault may do to clients. */
export type Effect = 'cut' | 'ended' | 'busy' | 'absent'
/** An instance that has missed something of its peers looks its sessions over, wherever the fault was, and ends those whose account has moved. */
export type Excuse = Effect | 'moved'

/** A fault at work: explains these effects for the trips that it covers. */
export interface Cause {
  readonly effects: readonly Excuse[]
  readonly covers: (trip: Trip, destination: string | undefined) => boolean
  readonly from: number
  /** Clock time at which it has no effect any more. */
  to: number
}

/** After the end of a fault: what was held back still comes, servers are tried again with pauses (RECONNECT_MAX_MS). */
const AFTERMATH_MS = 10_000
/** By when a change that was answered, or written by hand, has reached who is about to log in. */
const MOVED_MS = 1_000
/** What the log said of the account goes with a violation. */
const LINES_AROUND = 150
const EVERYDAY: readonly unknown[] = ['login', 'login_unavailable', 'session_closed', 'passed_through', 'audit']
const STORY_LINES = 12

/** A fault that has begun. */
export interface Begun {
  /** @param aftermath milliseconds for which it still explains something */
  over(aftermath?: number): void
}

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
  #causes: Cause[] = []

  constructor(accounts: readonly string[], members: readonly string[]) {
    this.#accounts = accounts
    this.#members = members
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

  /** A fault begins; `over` says when it ends. */
  begin(effects: readonly Excuse[], covers: Cause['covers']): Begun {
    const cause: Cause = { effects, covers, from: systemClock.now(), to: Number.POSITIVE_INFINITY }
    this.#causes.push(cause)
    return { over: (aftermath = AFTERMATH_MS) => void (cause.to = systemClock.now() + aftermath) }
  }

  /** All faults are over and all is well: what happens from now on has no excuse. */
  calm(): void {
    const now = systemClock.now()
    for (const cause of this.#causes) cause.to = Math.min(cause.to, now)
  }

  /** A client is about to set out; the result judges how it came back. */
  setOut(trip: Trip): (result: Visit) => void {
    const began = systemClock.now()
    const version = this.#ledger.latest(trip.account)
    const floors = this.#ledger.floors({ instance: trip.member.name, watches: false }, trip.account, began)
    return (result) => {
      this.tally[result.outcome]++
      this.tally.bytes += result.bytes
      if (result.wrong !== undefined) this.violation(result.wrong)
      if (result.outcome !== 'served' && result.wrong === undefined) this.#explain(result.outcome, trip, result.destination, { began, version })
      if (result.destination === undefined) return
      this.judged++
      const passed = trip.door.protocol === 'smtp' || trip.door.protocol === 'lmtp'
      const wrong = passed
        ? result.destination === DEFAULT ? undefined : `${trip.door.protocol} on ${result.destination}`
        : this.#ledger.violation(trip.account, result.destination === DEFAULT ? undefined : result.destination, false, { always: floors.always, asked: floors.always })
      if (wrong !== undefined) this.violation(`${trip.member.name}, ${trip.door.protocol} ${trip.door.tls}: ${wrong}`)
    }
  }

  /** Remembers what was done to an account, for a violation's story. */
  told(account: string, what: string): void {
    const lines = this.#stories.get(account) ?? []
    lines.push(`  ${new Date(systemClock.wall()).toISOString()} ${what}`)
    this.#stories.set(account, lines.slice(-STORY_LINES))
  }

  /** Everybody knows where the account is. */
  known(account: string, value: Value): void {
    if (value !== this.#ledger.value(account)) this.#ledger.committed(account, value, undefined, systemClock.now())
    for (const member of this.#members) this.#ledger.acknowledged(member, account, this.#ledger.latest(account))
  }

  /** A change is about to be asked for. From now on clients may be there. */
  changing(account: string, value: Value, member: string): Change {
    this.#taken.add(account)
    const before = this.#ledger.value(account)
    this.#ledger.committed(account, value, member, systemClock.now())
    const version = this.#ledger.latest(account)
    return {
      acknowledged: (names) => {
        for (const name of names) this.#ledger.acknowledged(name, account, version)
      },
      over: (outcome) => {
        this.#changed.set(account, systemClock.now() + MOVED_MS)
        this.#taken.delete(account)
        if (outcome === 'done') this.confirmed++
        else if (outcome === 'nothing') this.#ledger.committed(account, before, undefined, systemClock.now())
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
      this.#ledger.committed(account, undefined, undefined, systemClock.now())
      this.#changed.set(account, systemClock.now() + MOVED_MS)
    }
  }

  /** What the store holds in a calm: unknown outcomes become known, and known ones must be there. */
  read(account: string, value: Value): void {
    if (!this.#loose.delete(account) && value !== this.#ledger.value(account)) {
      this.violation(`${account}: the store holds ${value ?? 'nothing'} instead of ${this.#ledger.value(account) ?? 'nothing'}, which was confirmed\n${(this.#stories.get(account) ?? []).join('\n')}`)
    }
    this.known(account, value)
  }

  #explain(outcome: Effect, trip: Trip, destination: string | undefined, { began, version }: { began: number; version: number }): void {
    const now = systemClock.now()
    // Who logs in while the account moves may be asked to come again.
    if (outcome === 'busy' && (this.#ledger.latest(trip.account) > version || (this.#changed.get(trip.account) ?? 0) >= began)) return
    // Before an answer nobody knows which server it would have been.
    const moved = outcome === 'cut' && destination !== (this.#ledger.value(trip.account) ?? DEFAULT)
    const explains = (cause: Cause): boolean => cause.from <= now && cause.to >= began && ((moved && cause.effects.includes('moved')) || (cause.effects.includes(outcome) && cause.covers(trip, destination)))
    if (this.#causes.some(explains)) return
    const { box } = trip.member
    const from = box.lines.length
    const when = new Date(systemClock.wall() - (now - began)).toISOString()
    const what = `${trip.member.name}, ${trip.door.protocol} ${trip.door.tls}, ${trip.account}, from ${when}: ${outcome}${destination === undefined ? '' : ` on ${destination}`} without a fault that explains it`
    this.#violations.push(() => {
      const near = box.lines.slice(Math.max(0, from - LINES_AROUND), from + LINES_AROUND)
      const said = near.filter(({ account, event }) => account === trip.account || !EVERYDAY.includes(event))
      return [what, ...said.map(({ text }) => `  ${text}`), ...(this.#stories.get(trip.account) ?? [])].join('\n')
    })
  }
}

/** A change under way. */
export interface Change {
  /** These instances have it in force. */
  acknowledged(members: readonly string[]): void
  /** @param outcome unknown: nobody knows whether it was, or will be, carried out */
  over(outcome: 'done' | 'nothing' | 'unknown'): void
}
