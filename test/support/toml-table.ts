/** A configuration file as a table, for tests that start one as it stands but for its ports. */
import assert from 'node:assert/strict'

export type Table = { [key: string]: unknown }

/** Sets values by their paths ("destination.new.host"). */
export function change(document: Table, values: Readonly<Record<string, unknown>>): void {
  for (const [path, value] of Object.entries(values)) {
    const keys = path.split('.')
    const last = keys.pop() ?? ''
    let table = document
    for (const key of keys) {
      const inner = table[key]
      assert.ok(typeof inner === 'object' && inner !== null, path)
      table = inner as Table
    }
    table[last] = value
  }
}
