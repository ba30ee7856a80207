/**
 * What an import may hand to a store: identifiers that a login could ask for, and destinations that are names at all.
 * Whether a destination is declared is the caller's to check; it knows the configuration. Also cuts a stream into batches.
 */
import { SignalboxError } from '../errors.ts'
import { IDENTIFIER, MAPPING_BATCH, MAPPING_VALUE } from '../limits.ts'
import { MistakeList, invalidMapping } from './mistakes.ts'
import type { Mapping } from './source.ts'

/** C0 controls and space, double quote, DEL and C1 controls: as identity/identifier.ts refuses them. */
const FORBIDDEN = /[\u0000-\u0020"\u007f-\u009f]/
const UNPRINTABLE = /[\u0000-\u0020\u007f-\u009f]/

/** Undefined: fine. Else what is wrong, without repeating the identifier. */
export function entryMistake({ identifier, destination }: Mapping): string | undefined {
  if (identifier === '') return 'the identifier is empty'
  if (Buffer.byteLength(identifier) > IDENTIFIER) return `the identifier is longer than ${IDENTIFIER} bytes`
  if (FORBIDDEN.test(identifier)) return 'the identifier holds a control character, a space or a double quote'
  if (!identifier.isWellFormed()) return 'the identifier is not well-formed Unicode'
  if (destination === '') return 'the destination is empty'
  if (UNPRINTABLE.test(destination) || !destination.isWellFormed()) return 'the destination holds a character that no name has'
  if (Buffer.byteLength(destination) > MAPPING_VALUE) return `the destination is longer than ${MAPPING_VALUE} bytes`
  return undefined
}

/** Throws SOURCE_INVALID unless both are fit to be stored. */
export function checkEntry(identifier: string, destination: string): void {
  const mistake = entryMistake({ identifier, destination })
  if (mistake !== undefined) throw new SignalboxError('SOURCE_INVALID', mistake)
}

/**
 * The mappings in batches of at most MAPPING_BATCH, each identifier once per batch (the later wins). Throws
 * SOURCE_INVALID at the batch that holds a mistake, with its number in the stream as the line.
 */
export async function* inBatches(mappings: AsyncIterable<Mapping> | Iterable<Mapping>): AsyncGenerator<Mapping[]> {
  let batch = new Map<string, Mapping>()
  const mistakes = new MistakeList()
  let line = 0
  for await (const mapping of mappings) {
    line++
    const mistake = entryMistake(mapping)
    if (mistake !== undefined) mistakes.add(line, mistake)
    batch.set(mapping.identifier, mapping)
    if (batch.size < MAPPING_BATCH) continue
    if (mistakes.total > 0) break
    yield [...batch.values()]
    batch = new Map()
  }
  if (mistakes.total > 0) throw invalidMapping('import', mistakes)
  if (batch.size > 0) yield [...batch.values()]
}
