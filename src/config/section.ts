/**
 * One table of the file, checked by convict against its schema. Every key is loaded and validated by itself, so that
 * all mistakes of a table are found and each can be told apart (convict itself reports them as one text). A value
 * that is wrong reads as undefined afterwards: the rules that need it keep silent instead of judging a default that
 * nobody wrote.
 */
import convict from 'convict'
import { parseDuration, parseSize } from './duration.ts'
import { formatOf } from './format.ts'
import { pathText, show, type Mistake, type Report } from './mistake.ts'
import { nearest } from './nearest.ts'
import type { KeySchema, TableDefinition } from './schema-table.ts'
import { isTable, type Table } from './toml.ts'

export interface SectionOptions {
  readonly definition: TableDefinition
  /** The path as written, names filled in. */
  readonly segments: readonly string[]
  /** What the operator chose for each `<…>` of the definition's path, in order. */
  readonly names: readonly string[]
  /** Undefined: the file does not have this table. */
  readonly table: Table | undefined
}

export class Section {
  readonly definition: TableDefinition
  readonly names: readonly string[]
  readonly present: boolean
  readonly #segments: readonly string[]
  readonly #values = new Map<string, unknown>()
  readonly #set = new Set<string>()

  constructor(options: SectionOptions, report: Report) {
    this.definition = options.definition
    this.names = options.names
    this.#segments = options.segments
    this.present = options.table !== undefined
    this.#check(options.table ?? {}, report)
  }

  /** The path as TOML writes it, of the table or of one of its keys. */
  path(key?: string): string {
    return pathText(key === undefined ? this.#segments : [...this.#segments, key])
  }

  /** The last of the names that the operator chose: of a listener, a destination, a certificate; of a leg its protocol. */
  get name(): string {
    return this.names.at(-1) ?? ''
  }

  /** Whether the file sets this key, rightly or wrongly. */
  isSet(key: string): boolean {
    return this.#set.has(key)
  }

  /** Keys that the file sets. */
  get keysSet(): ReadonlySet<string> {
    return this.#set
  }

  /** The value as TOML gave it, or the default; undefined when unset without a default, or wrong. */
  raw(key: string): unknown {
    return this.#values.get(key)
  }

  text(key: string): string | undefined {
    const value = this.raw(key)
    return typeof value === 'string' ? value : undefined
  }

  /** A text that is one of `options`. */
  choice<T extends string>(key: string, options: readonly T[]): T | undefined {
    const value = this.raw(key)
    return options.find((option) => option === value)
  }

  number(key: string): number | undefined {
    const value = this.raw(key)
    return typeof value === 'number' ? value : undefined
  }

  flag(key: string): boolean | undefined {
    const value = this.raw(key)
    return typeof value === 'boolean' ? value : undefined
  }

  texts(key: string): readonly string[] | undefined {
    const value = this.raw(key)
    return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : undefined
  }

  /** A table of texts as pairs, in the order of the file. */
  pairs(key: string): readonly (readonly [string, string])[] | undefined {
    const value = this.raw(key)
    if (!Array.isArray(value)) return undefined
    return value.flatMap((pair: unknown) => {
      const [name, text]: unknown[] = Array.isArray(pair) ? pair : []
      return typeof name === 'string' && typeof text === 'string' ? [[name, text] as const] : []
    })
  }

  /** Milliseconds. */
  duration(key: string): number | undefined {
    const parsed = parseDuration(this.text(key) ?? '')
    return parsed.ok ? parsed.value : undefined
  }

  /** Bytes. */
  size(key: string): number | undefined {
    const parsed = parseSize(String(this.raw(key)))
    return parsed.ok ? parsed.value : undefined
  }

  #check(table: Table, report: Report): void {
    const schema = this.definition.schema
    const config = convict<Record<string, unknown>>({ ...schema }, { env: {}, args: [] })
    for (const [key, facts] of Object.entries(schema)) {
      if (!Object.hasOwn(table, key)) {
        if (facts.required && this.present) report.mistakes.push(this.#missing(key, facts))
        const fallback: unknown = config.get(key)
        if (fallback !== null && fallback !== undefined) this.#values.set(key, fallback)
        continue
      }
      this.#set.add(key)
      const value = table[key]
      const format = formatOf(facts.format)
      const shaped = format?.table === true && isTable(value) ? Object.entries(value) : value
      // convict would merge a table or a date into its own: they never get that far.
      let good = typeof shaped !== 'object' || Array.isArray(shaped)
      if (good) {
        config.load({ [key]: shaped })
        try {
          config.validate({ allowed: 'strict' })
          this.#values.set(key, config.get(key))
        } catch {
          good = false
        }
        config.reset(key)
      }
      if (!good) report.mistakes.push(this.#wrong(key, facts, value, format?.check(shaped) ?? ''))
    }
  }

  #missing(key: string, facts: KeySchema): Mistake {
    return { path: this.path(key), message: 'must be set', allowed: facts.format }
  }

  #wrong(key: string, facts: KeySchema, value: unknown, reason: string): Mistake {
    const message = reason === '' ? 'not allowed' : reason
    const mistake = { path: this.path(key), message, allowed: facts.format }
    if (facts.sensitive) return mistake
    const near = typeof value === 'string' ? nearest(value, formatOf(facts.format)?.words ?? []) : undefined
    return near === undefined ? { ...mistake, found: show(value) } : {
      ...mistake,
      found: show(value),
      suggestion: near,
    }
  }
}
