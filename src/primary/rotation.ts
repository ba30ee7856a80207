/**
 * Which worker is started or drained next: the one rule behind starting, replacing the dead, rolling all and changing their
 * number. Pure; the supervisor does what it says, one step at a time, until nothing is left to do.
 *
 * Nobody is drained before there are more ready than wanted, so that no connection ever finds too few; a roll has one
 * worker more than wanted, and no more than one, at a time.
 */

export interface Crew {
  /** How many shall be ready. */
  readonly wanted: number
  readonly workers: readonly Member[]
  /** Starts that are put off (a worker died young). */
  readonly putOff: number
}

export interface Member {
  readonly worker: number
  readonly state: 'starting' | 'ready' | 'draining'
  /** It is to be replaced. */
  readonly outdated: boolean
}

export type Step = { readonly do: 'start' } | { readonly do: 'drain'; readonly worker: number }

/** Undefined: all is as it should be, or is on its way there. */
export function nextStep({ wanted, workers, putOff }: Crew): Step | undefined {
  const live = workers.filter(({ state }) => state !== 'draining')
  const outdated = live.filter((member) => member.outdated)
  if (live.filter(({ state }) => state === 'ready').length > wanted) {
    // The oldest of those to be replaced; where their number shrinks the youngest, which has the fewest sessions.
    const member = outdated[0] ?? live.filter(({ state }) => state === 'ready').at(-1)
    if (member !== undefined) return { do: 'drain', worker: member.worker }
  }
  const target = wanted + (outdated.length > 0 ? 1 : 0)
  return live.length + putOff < target ? { do: 'start' } : undefined
}
