/** As much of JSON Schema as the management API's answers use: what of a value doesn't fit, as sentences with paths. */

const KNOWN = new Set(['type', 'properties', 'required', 'items', 'enum', 'additionalProperties', 'description', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern', 'default', 'anyOf', 'oneOf'])

/** The names of types that a schema has; one that isn't text is shown as it is. */
function typesOf(schema: Record<string, unknown>): string[] | undefined {
  const { type } = schema
  if (type === undefined) return undefined
  return (Array.isArray(type) ? type : [type]).map((name: unknown) => (typeof name === 'string' ? name : JSON.stringify(name)))
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value
}

/** Empty: the value fits. */
export function misfits(value: unknown, schema: unknown, at = ''): string[] {
  if (!isRecord(schema)) return [`${at}: no schema`]
  const wrong: string[] = []
  for (const keyword of Object.keys(schema)) if (!KNOWN.has(keyword)) wrong.push(`${at}: this test doesn't know the keyword ${keyword}`)
  const alternatives = schema['anyOf'] ?? schema['oneOf']
  if (Array.isArray(alternatives) && alternatives.every((one) => misfits(value, one, at).length > 0)) wrong.push(`${at}: fits no alternative`)
  const types = typesOf(schema)
  const kind = kindOf(value)
  if (types !== undefined && !types.includes(kind) && !(kind === 'integer' && types.includes('number'))) return [`${at}: ${kind} instead of ${types.join()}`]
  if (Array.isArray(schema['enum']) && !schema['enum'].includes(value)) wrong.push(`${at}: ${JSON.stringify(value)} is none of ${JSON.stringify(schema['enum'])}`)
  if (Array.isArray(value) && schema['items'] !== undefined) {
    for (const [index, item] of value.entries()) wrong.push(...misfits(item, schema['items'], `${at}[${index}]`))
  }
  if (isRecord(value)) {
    const properties = isRecord(schema['properties']) ? schema['properties'] : {}
    for (const name of Array.isArray(schema['required']) ? schema['required'] : []) {
      if (!(String(name) in value)) wrong.push(`${at}.${String(name)}: is missing`)
    }
    for (const [name, inner] of Object.entries(value)) {
      if (Object.hasOwn(properties, name)) wrong.push(...misfits(inner, properties[name], `${at}.${name}`))
    }
  }
  return wrong
}

/** What is no schema in this one. */
export function schemaMistakes(schema: unknown, at: string): string[] {
  if (!isRecord(schema)) return [`${at}: no schema`]
  const wrong = Object.keys(schema).filter((keyword) => !KNOWN.has(keyword)).map((keyword) => `${at}: ${keyword}`)
  const kinds = ['string', 'integer', 'number', 'boolean', 'object', 'array', 'null']
  for (const type of typesOf(schema) ?? []) if (!kinds.includes(type)) wrong.push(`${at}: type ${type}`)
  const properties = isRecord(schema['properties']) ? schema['properties'] : {}
  for (const [name, inner] of Object.entries(properties)) wrong.push(...schemaMistakes(inner, `${at}.${name}`))
  if (Array.isArray(schema['required'])) {
    for (const name of schema['required']) if (!Object.hasOwn(properties, String(name))) wrong.push(`${at}: requires ${String(name)}, which it doesn't know`)
  }
  if (schema['items'] !== undefined) wrong.push(...schemaMistakes(schema['items'], `${at}[]`))
  return wrong
}
