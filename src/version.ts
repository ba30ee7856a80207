/** The version as package.json says it, from the checkout or from dist/. */
import { readFileSync } from 'node:fs'

function read(): string {
  // From src/ the package is one level up, from dist/src/ two.
  for (const place of ['../package.json', '../../package.json']) {
    try {
      const parsed: unknown = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8'))
      if (typeof parsed === 'object' && parsed !== null && 'version' in parsed && typeof parsed.version === 'string') return parsed.version
    } catch {
      // Not there: the other place has it.
    }
  }
  return 'unknown'
}

export const VERSION = read()
