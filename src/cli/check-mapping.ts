/**
 * The mapping file as a part of the configuration: reads it as the start would, and says what is wrong with it line by
 * line. Touches nothing: an instance may be running on the same file.
 */
import type { Config } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'
import { load } from '../mapping/file/load.ts'
import { mistakesOf } from '../mapping/mistakes.ts'

export interface MappingCheck {
  /** Without line breaks; empty: the file is sound, or the source is another. */
  readonly mistakes: readonly string[]
  readonly warnings: readonly string[]
}

/** Reads the whole file, in this thread. */
export function checkMapping({ mapping, destinations }: Config): MappingCheck {
  const { source, file, normalize } = mapping
  if (source !== 'file' || file === undefined) return { mistakes: [], warnings: [] }
  try {
    const { warnings } = load({ path: file.path, normalize, destinations: destinations.map(({ name }) => name) })
    return { mistakes: [], warnings: warnings.map((warning) => `${file.path}: ${warning}`) }
  } catch (error) {
    if (!(error instanceof SignalboxError)) throw error
    const lines = mappingMistakes(error)
    return { mistakes: lines.length > 0 ? lines.map((line) => `${file.path}, ${line}`) : [`mapping.file.path: ${error.message}`], warnings: [] }
  }
}

/** The lines that a refused mapping file is refused for, one text each and how many more; empty for every other error. */
export function mappingMistakes(error: unknown): string[] {
  const found = mistakesOf(error)
  if (found === undefined) return []
  const named = found.mistakes.map(({ line, message }) => `line ${line}: ${message}`)
  return found.more > 0 ? [...named, `and ${found.more} more`] : named
}
