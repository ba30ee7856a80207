/**
 * TOML in, plain tables out. Registered with convict as the parser of `.toml` files. A syntax mistake carries its line
 * and column; the offending line itself is left out of it, because it may hold a secret.
 */
import convict from 'convict'
import { TomlError, parse } from 'smol-toml'
import type { Mistake } from './mistake.ts'

/** A TOML table. Own keys only count: `__proto__` is a key like any other. */
export type Table = Readonly<Record<string, unknown>>

export type Document = { readonly ok: true; readonly table: Table } | { readonly ok: false; readonly mistake: Mistake }

/** No configuration nests deeper. */
const DEPTH = 32

convict.addParser({ extension: 'toml', parse: (text) => parse(text, { maxDepth: DEPTH }) })

/** Parses a document; never throws. */
export function parseToml(text: string): Document {
  try {
    return { ok: true, table: parse(text, { maxDepth: DEPTH }) }
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) {
      const message = thrown instanceof Error ? thrown.message : String(thrown)
      return { ok: false, mistake: { path: '', message: `not TOML: ${message}` } }
    }
    const reason = (thrown.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '')
    return {
      ok: false,
      mistake: { path: '', message: `not TOML: ${reason}`, line: thrown.line, column: thrown.column },
    }
  }
}

/** Whether a value is a table (dates and lists are none). */
export function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
