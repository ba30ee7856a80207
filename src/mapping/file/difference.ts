/**
 * What differs between two states of the mappings: counts, and the identifiers whose destination isn't the same, up
 * to RELOAD_DIFFERENCES, beyond which naming them costs more than invalidating everything. Runs in the thread.
 */
import { RELOAD_DIFFERENCES } from '../../limits.ts'
import type { Changed } from '../source.ts'
import { compareCursors, Cursor, sameDestination } from './cursor.ts'
import type { Change } from './changes.ts'
import { Table } from './table.ts'
import type { TableData } from './table.ts'

export interface Difference {
  readonly added: number
  readonly changed: number
  readonly removed: number
  /** The identifiers, a line feed behind each; undefined: too many. */
  readonly identifiers: Uint8Array | undefined
}

/** Both tables must be ordered. `onTop`: what `after` lacks stays, and is no difference. */
export function difference(before: TableData, changes: readonly Change[], after: TableData, onTop = false): Difference {
  const old = new Cursor(new Table(before), changes)
  const now = new Cursor(new Table(after), [])
  const names: string[] = []
  const count = { added: 0, changed: 0, removed: 0 }
  const note = (what: keyof typeof count, cursor: Cursor): void => {
    count[what]++
    if (names.length <= RELOAD_DIFFERENCES) names.push(cursor.identifier)
  }
  let hasOld = old.advance()
  let hasNow = now.advance()
  while (hasOld || hasNow) {
    const compared = !hasOld ? 1 : !hasNow ? -1 : compareCursors(old, now)
    if (compared < 0) {
      if (!onTop) note('removed', old)
    } else if (compared > 0) note('added', now)
    else if (!sameDestination(old, now)) note('changed', now)
    if (compared <= 0) hasOld = old.advance()
    if (compared >= 0) hasNow = now.advance()
  }
  const few = count.added + count.changed + count.removed <= RELOAD_DIFFERENCES
  return { ...count, identifiers: few ? new TextEncoder().encode(names.map((name) => `${name}\n`).join('')) : undefined }
}

/** What has to be invalidated because of it. */
export function invalidation({ identifiers }: Difference): Changed {
  if (identifiers === undefined) return { all: true }
  return { all: false, identifiers: Buffer.from(identifiers).toString().split('\n').slice(0, -1) }
}
