/** Visitors without end: so many at a time, each an account through a door, told before it goes and when it is back. */
import { systemClock } from '../../src/clock.ts'
import type { LogLine } from '../support/signalbox.ts'
import type { ChaosFleet, Door, Member } from './fleet.ts'
import type { Random } from './random.ts'
import { visit } from './visit.ts'
import type { Visit } from './visit.ts'

export interface CrowdOptions {
  /** Which there are, or who comes next. */
  readonly accounts: readonly string[] | (() => string)
  readonly lanes: number
  /** Milliseconds between two visits of a lane. */
  readonly rest: number
  /** Bytes of a cargo at most. */
  readonly size: number
  /** Of a hundred visitors, how many stay for seconds. */
  readonly stayers: number
  readonly random: Random
  /** The address that an account's client comes from; default: any. */
  readonly from?: (account: string) => string
  /** Milliseconds that nothing may take longer than. */
  readonly patience: number
}

/** The instance that it goes to. */
export type Visited = Pick<Member, 'name'> & { readonly box: { readonly lines: readonly LogLine[] } }

/** Who sets out. */
export interface Trip {
  readonly member: Visited
  readonly door: Door
  readonly account: string
}

export class Crowd {
  readonly #running: Promise<void>[]
  #over = false

  /** @param setOut called before a visit begins; what it gives is called with the visit's result */
  constructor(fleet: Pick<ChaosFleet, 'members' | 'ca'>, options: CrowdOptions, setOut: (trip: Trip) => { arrived?: (destination: string) => void; back(result: Visit): void }) {
    const { accounts, lanes, rest, size, stayers, random, patience, from } = options
    const lane = async (): Promise<void> => {
      while (!this.#over) {
        const member = random.pick(fleet.members)
        const door = random.pick(member.doors)
        const account = typeof accounts === 'function' ? accounts() : random.pick(accounts)
        const stays = random.between(1, 100) <= stayers
        const { arrived, back } = setOut({ member, door, account })
        const result = await visit({
          door,
          account,
          ca: fleet.ca,
          size: random.between(1, stays ? 4_000 : size),
          rounds: stays ? random.between(5, 25) : 1,
          pause: stays ? 300 : 0,
          patience,
          seed: random.between(0, 2 ** 30),
          ...(arrived === undefined ? {} : { arrived }),
          ...(from === undefined ? {} : { from: from(account) }),
        })
        back(result)
        if (rest > 0) await systemClock.sleep(random.between(0, 2 * rest))
      }
    }
    this.#running = Array.from({ length: lanes }, lane)
  }

  /** Nobody sets out any more; resolves when all are back. */
  async stop(): Promise<void> {
    this.#over = true
    await Promise.all(this.#running)
  }
}
