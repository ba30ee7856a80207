/**
 * The tables of a document, each as a Section. The walk follows the paths of the schema's definitions: fixed tables,
 * tables whose names the operator chooses, and arrays of tables. What no definition knows is a mistake with the
 * nearest known key. Names are keys of Maps here, never of objects.
 */
import { listed } from './format.ts'
import { pathText, show, type Report } from './mistake.ts'
import { nearest } from './nearest.ts'
import type { TableDefinition } from './schema-table.ts'
import { Section } from './section.ts'
import { isTable, type Table } from './toml.ts'

/** A step of the schema: a table, what may stand in it, and how its names are chosen. */
interface Node {
  definition: TableDefinition | undefined
  readonly children: Map<string, Node>
  /** For `<name>`: the table of every name. */
  named: Node | undefined
  /** Behind `[]`: a list of tables. */
  list: boolean
}

/** Longest name of a listener, a destination, a certificate. */
const NAME = 128

/** What is known of where the walk stands. */
interface Place {
  readonly segments: readonly string[]
  readonly names: readonly string[]
}

export class Tables {
  readonly #sections = new Map<string, Section[]>()
  readonly #definitions: readonly TableDefinition[]

  constructor(definitions: readonly TableDefinition[], document: Table, report: Report) {
    this.#definitions = definitions
    this.#walk(schemaTree(definitions), { segments: [], names: [] }, document, report)
  }

  /** The one section of a fixed table; without the table in the file it has the defaults and `present` is false. */
  one(path: string): Section {
    const section = this.#sections.get(path)?.[0]
    if (section !== undefined) return section
    const definition = this.#definitions.find((known) => known.path === path)
    if (definition === undefined) throw new RangeError(`the schema has no table ${path}`)
    const options = { definition, segments: path.split('.'), names: [], table: undefined }
    return new Section(options, { mistakes: [], warnings: [] })
  }

  /** All sections of a definition, in the order of the file. */
  all(path: string): readonly Section[] {
    return this.#sections.get(path) ?? []
  }

  /** Every section that the file has. */
  present(): readonly Section[] {
    return [...this.#sections.values()].flat().filter((section) => section.present)
  }

  #walk(node: Node, place: Place, table: Table | undefined, report: Report): void {
    if (node.definition !== undefined) {
      const section = new Section({ definition: node.definition, ...place, table }, report)
      const siblings = this.#sections.get(node.definition.path)
      if (siblings === undefined) this.#sections.set(node.definition.path, [section])
      else siblings.push(section)
    }
    for (const [key, child] of node.children) {
      if (table === undefined || !Object.hasOwn(table, key)) {
        // Fixed tables exist even where the file lacks them: their defaults count.
        if (child.named === undefined && !child.list) this.#walk(
          child,
          { ...place, segments: [...place.segments, key] },
          undefined,
          report,
        )
      }
    }
    for (const key of Object.keys(table ?? {})) this.#enter(node, key, place, table?.[key], report)
  }

  #enter(node: Node, key: string, place: Place, value: unknown, report: Report): void {
    const schema = node.definition?.schema ?? {}
    if (Object.hasOwn(schema, key)) return
    const segments = [...place.segments, key]
    const child = node.children.get(key)
    if (child?.list === true) return this.#enterList(child, { ...place, segments }, value, report)
    const target = child ?? node.named
    if (target === undefined) return this.#unknown(node, key, segments, report)
    if (child === undefined && !this.#nameAllowed(target, key, segments, report)) return
    if (!isTable(value)) {
      report.mistakes.push({ path: pathText(segments), message: 'must be a table', found: show(value) })
      return
    }
    const names = child === undefined ? [...place.names, key] : place.names
    this.#walk(target, { segments, names }, value, report)
  }

  #enterList(node: Node, place: Place, value: unknown, report: Report): void {
    if (!Array.isArray(value) || !value.every(isTable)) {
      const path = pathText(place.segments)
      report.mistakes.push({ path, message: `must be an array of tables, [[${path}]]`, found: show(value) })
      return
    }
    const above = place.segments.slice(0, -1)
    for (const [index, table] of value.entries()) {
      const segments = [...above, `${place.segments.at(-1) ?? ''}[${index}]`]
      this.#walk(node, { segments, names: [...place.names, String(index)] }, table, report)
    }
  }

  #nameAllowed(node: Node, name: string, segments: readonly string[], report: Report): boolean {
    const allowed = node.definition?.names
    if (allowed === undefined) {
      if (name.length <= NAME && /^[^\s"\p{C}]+$/u.test(name)) return true
      const message = 'not a name'
      const limits = `1 to ${NAME} characters without white space, quotes and control characters`
      report.mistakes.push({ path: pathText(segments), message, allowed: limits })
      return false
    }
    if (allowed.includes(name)) return true
    const near = nearest(name, allowed)
    const mistake = { path: pathText(segments), message: 'unknown name', allowed: listed(allowed) }
    report.mistakes.push(near === undefined ? mistake : { ...mistake, suggestion: near })
    return false
  }

  #unknown(node: Node, key: string, segments: readonly string[], report: Report): void {
    const known = [...Object.keys(node.definition?.schema ?? {}), ...node.children.keys()]
    const near = nearest(key, known) ?? this.#elsewhere(key)
    const mistake = { path: pathText(segments), message: 'unknown key' }
    report.mistakes.push(
      near === undefined ? { ...mistake, allowed: known.join(', ') } : { ...mistake, suggestion: near },
    )
  }

  /** The same key in another table, with that table: it was put into the wrong one. */
  #elsewhere(key: string): string | undefined {
    const owners = this.#definitions.filter((definition) => Object.hasOwn(definition.schema, key))
    const [owner] = owners
    return owners.length === 1 && owner !== undefined ? `${owner.path}.${key}` : undefined
  }
}

function schemaTree(definitions: readonly TableDefinition[]): Node {
  const root = emptyNode()
  for (const definition of definitions) {
    let node = root
    for (const step of definition.path.split('.')) {
      if (step.startsWith('<')) {
        node.named ??= emptyNode()
        node = node.named
        continue
      }
      const key = step.replace(/\[\]$/, '')
      const child = node.children.get(key) ?? emptyNode()
      if (step.endsWith('[]')) child.list = true
      node.children.set(key, child)
      node = child
    }
    node.definition = definition
  }
  return root
}

function emptyNode(): Node {
  return { definition: undefined, children: new Map(), named: undefined, list: false }
}
