/**
 * The documentation of the configuration, made from the schema: docs/configuration.md for readers, and
 * config/reference.toml, which holds every key. Nothing is written by hand in either, so neither can be wrong about a
 * key, a default or a format.
 */
import { TABLES } from './schema.ts'
import type { KeySchema, TableDefinition, Value } from './schema-table.ts'

/** Where the generated files belong in the repository, and what is in them. */
export function generatedFiles(): readonly { readonly path: string; readonly text: string }[] {
  return [
    { path: 'docs/configuration.md', text: markdown() },
    { path: 'config/reference.toml', text: reference() },
  ]
}

/** Tables that are absent from an ordinary file: the reference shows them commented out. */
const COMMENTED: ReadonlySet<string> = new Set(['mapping.redis', 'mapping.sql', 'http.route[]', 'http.route[].extract'])

const INTRODUCTION = `# Configuration

Generated from the schema by \`node scripts/generate-docs.ts\`; change the schema, not this file.

Signalbox reads one TOML file: \`signalbox serve FILE\`, or the path in \`PROXY_CONFIG\`. \`signalbox check FILE\` checks
it and starts nothing. The file is checked as a whole, and all mistakes are reported at once: unknown keys and names
(with the nearest known one), values that are not allowed, and what one key demands of another. With any mistake
nothing is started, and the exit status is 2. [config/reference.toml](../config/reference.toml) holds every key.

- **Durations** are whole numbers with a unit: \`ms\`, \`s\`, \`m\`, \`h\`, \`d\`. The unit is never left out.
- **Sizes** are bytes, or whole numbers with \`kb\` (1024 bytes) or \`mb\`.
- **Socket addresses** are \`1.2.3.4:993\` or \`[::]:993\`; port 0 lets the kernel choose one.
- **Relative paths** start at the working directory of the process, not at the configuration file.
- **Names** of listeners, destinations and certificates are free, without white space and quotes.
- **Environment**: \`PROXY_CONFIG\` (the file), \`PROXY_ADMIN_TOKEN\` (the management token, before both of its keys),
  \`LOG_LEVEL\` (before \`server.log_level\`), \`RUST_LOG\` (the same, when it is a plain level),
  \`SIGNALBOX_CLUSTER_SECRET\` (before \`cluster.secret\`).

Tables and keys have the names that they have in the Stalwart migration proxy; what it lacks is marked *new*.
`

/** The page for readers. */
export function markdown(): string {
  return [INTRODUCTION, ...TABLES.map(markdownTable)].join('\n')
}

function markdownTable(table: TableDefinition): string {
  const rows = Object.entries(table.schema).map(([name, key]) => {
    const notes = [key.doc, ...(key.added ? ['*New.*'] : [])]
    return `| \`${name}\` | ${defaultCell(key)} | ${cell(key.format)} | ${cell(notes.join(' '))} |`
  })
  return [
    `## \`${heading(table)}\``,
    '',
    table.doc,
    '',
    ...(table.names === undefined ? [] : [`Names: ${table.names.map((name) => `\`${name}\``).join(', ')}.`, '']),
    '| key | default | format | meaning |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}

/** The file with every key: defaults as they are, what is unset commented out with an example. */
export function reference(): string {
  const head = [
    '# Every key of the configuration with its default. Generated from the schema; see docs/configuration.md.',
    '# A line that begins with #key shows an example of what is unset.',
    '',
  ]
  return [...head, ...TABLES.map(referenceTable)].join('\n')
}

function referenceTable(table: TableDefinition): string {
  const off = COMMENTED.has(table.path) ? '#' : ''
  const lines = [...wrapped(table.doc), `${off}${tableHeader(table)}`]
  for (const [name, key] of Object.entries(table.schema)) {
    lines.push(...wrapped(`${key.doc}${key.required ? ' Required.' : ''}`))
    if (key.default !== null) lines.push(`${off}${name} = ${toml(key.default)}`)
    else lines.push(`${key.required ? off : '#'}${name} = ${key.example ?? ''}`)
  }
  return `${lines.join('\n')}\n`
}

function heading(table: TableDefinition): string {
  const [before = '', behind] = table.path.split('[].')
  if (behind !== undefined) return `${behind} of [[${before}]]`
  return table.path.endsWith('[]') ? `[[${table.path.slice(0, -2)}]]` : `[${table.path}]`
}

function tableHeader(table: TableDefinition): string {
  if (table.path.endsWith('[]')) return `[[${table.path.slice(0, -2)}]]`
  return `[${(table.example ?? table.path).replaceAll('[]', '')}]`
}

function defaultCell(key: KeySchema): string {
  if (key.required) return 'required'
  return key.default === null ? 'unset' : `\`${toml(key.default)}\``
}

/** A value as TOML. */
function toml(value: Exclude<Value, null>): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return `[${value.map((item) => JSON.stringify(item)).join(', ')}]`
}

/** Text within a cell of a markdown table; names in angle brackets would be taken for HTML. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replace(/(?<!\\)\*(?=\.|")/g, '\\*')
}

/** Comment lines of at most 100 characters. */
function wrapped(text: string): readonly string[] {
  const lines: string[] = []
  let line = '#'
  for (const word of text.split(' ')) {
    if (line.length + word.length + 1 > 100) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return [...lines, line]
}
