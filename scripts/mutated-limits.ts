/**
 * Preloaded by scripts/mutate-limits.ts into a test's process, its threads and its children: whatever belongs to the program
 * sees one bound of src/limits.ts changed, while tests see it as it is. Nothing is written to disk.
 *
 * SIGNALBOX_MUTATED_LIMIT has the bound's name, SIGNALBOX_MUTATED_AS what becomes of its value `n`.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'

const LIMITS = new URL('../src/limits.ts', import.meta.url).href
const TESTS = new URL('../test/', import.meta.url).href
const MUTATED = `${LIMITS}?mutated`

const name = process.env['SIGNALBOX_MUTATED_LIMIT'] ?? ''
const as = process.env['SIGNALBOX_MUTATED_AS'] ?? 'n'

registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    return found.url !== LIMITS || context.parentURL?.startsWith(TESTS) === true ? found : { ...found, url: MUTATED, format: 'module' }
  },
  load(url, context, next) {
    if (url !== MUTATED) return next(url, context)
    // The file holds nothing but constants: no type needs to be taken out.
    const text = readFileSync(fileURLToPath(LIMITS), 'utf8')
    const source = text.replace(new RegExp(`^export const ${name} = (.*)$`, 'm'), (_, value: string) => `export const ${name} = ((n) => ${as})(${value})`)
    if (source === text && name !== '') throw new Error(`src/limits.ts has no ${name}`)
    return { format: 'module', source, shortCircuit: true }
  },
})
