/**
 * What a table of the configuration is made of: a convict schema (default, format, doc) per key, and a few facts
 * that convict does not know: whether the key must be set, whether its value is a secret, an example, and whether
 * the Stalwart migration proxy, whose names these are, lacks it. Tables are flat; tables within tables are
 * definitions of their own, joined by their paths.
 */
import type { Format } from './format.ts'

export type Value = string | number | boolean | readonly string[] | null

/** One key; a convict schema object. `format` is the sentence that the format is registered under. */
export interface KeySchema {
  readonly default: Value
  readonly format: string
  readonly doc: string
  readonly nullable: boolean
  /** Has no default and must be set. */
  readonly required: boolean
  readonly sensitive: boolean
  /** As TOML text; for keys without a default. */
  readonly example: string | undefined
  /** Not known to the Stalwart migration proxy. */
  readonly added: boolean
}

export type TableSchema = Readonly<Record<string, KeySchema>>

export interface TableDefinition {
  /**
   * Path with `<name>` where the operator chooses and `[]` behind an array of tables, e.g.
   * `destination.<name>.protocol.<protocol>` or `http.route[]`.
   */
  readonly path: string
  readonly doc: string
  readonly schema: TableSchema
  /** Names that a `<…>` at the end of the path may take; undefined: any name without white space. */
  readonly names?: readonly string[]
  /** The path as the reference configuration shows it, names filled in. */
  readonly example?: string
}

interface Facts {
  readonly added?: true
  readonly sensitive?: true
  readonly example?: string
}

/** A key with a default. */
export function setting(value: Exclude<Value, null>, format: Format, doc: string, facts: Facts = {}): KeySchema {
  return key({ default: value, nullable: false, required: false }, format, doc, facts)
}

/** A key that may stay unset. */
export function optional(format: Format, doc: string, facts: Facts & { example: string }): KeySchema {
  return key({ default: null, nullable: true, required: false }, format, doc, facts)
}

/** A key that must be set. */
export function required(format: Format, doc: string, facts: Facts & { example: string }): KeySchema {
  return key({ default: null, nullable: true, required: true }, format, doc, facts)
}

function key(
  base: Pick<KeySchema, 'default' | 'nullable' | 'required'>,
  format: Format,
  doc: string,
  facts: Facts,
): KeySchema {
  return {
    ...base,
    format: format.allowed,
    doc,
    sensitive: facts.sensitive ?? false,
    example: facts.example,
    added: facts.added ?? false,
  }
}
