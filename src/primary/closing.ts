/**
 * The end of an instance's parts: closed in order, those of a group together, and waited for no longer than a bound, since
 * a service manager has one, too. What isn't closed by then is named and left to the end of the process.
 */
import type { Clock } from '../clock.ts'

/** Parts by their names; undefined: there is none. */
export type Group = Readonly<Record<string, { close(): Promise<void> } | undefined>>

export interface Closing {
  /** Rejects with the first failure; later groups stay as they are then. */
  readonly done: Promise<void>
  /** What has been begun and isn't closed. */
  readonly open: ReadonlySet<string>
}

/** Begins. */
export function closeInOrder(groups: readonly Group[]): Closing {
  const open = new Set<string>()
  return { done: closeGroups(groups, open), open }
}

async function closeGroups(groups: readonly Group[], open: Set<string>): Promise<void> {
  for (const group of groups) {
    const closed = Object.entries(group).map(async ([name, part]) => {
      if (part === undefined) return
      open.add(name)
      await part.close()
      open.delete(name)
    })
    await Promise.all(closed)
  }
}

/** Resolves when all is closed or `ms` milliseconds are over, with the names of what is open. Rejects as `done` does. */
export async function closedWithin({ done, open }: Closing, ms: number, clock: Clock): Promise<readonly string[]> {
  const late = Promise.withResolvers<void>()
  const timer = clock.after(ms, late.resolve, { keepAlive: true })
  try {
    await Promise.race([done, late.promise])
    return [...open]
  } finally {
    timer.cancel()
  }
}
