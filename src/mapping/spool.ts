/**
 * Holds an import until all of it has arrived and been checked, because nothing may change when its end is missing or
 * wrong. One batch stays in memory; more goes to a temporary file, a line each, so that ten million mappings cost disk
 * and not heap. The file holds accounts: it is readable by this user alone and removed when the import is over.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { SignalboxError } from '../errors.ts'
import { MAPPING_BATCH } from '../limits.ts'
import { entryMistake } from './entry.ts'
import { invalidMapping, MistakeList } from './mistakes.ts'
import type { Mapping } from './source.ts'

/** A checked import. */
export interface Spooled extends AsyncDisposable {
  /** At most MAPPING_BATCH at a time, each identifier once per batch: the later one wins. May be read once. */
  batches(): AsyncIterable<Mapping[]>
}

/**
 * Reads everything. Rejects with SOURCE_INVALID (its cause: which entries, numbered from 1), with what the iterable
 * throws, or with SOURCE_WRITE when there is no room for it.
 */
export async function spool(mappings: AsyncIterable<Mapping> | Iterable<Mapping>): Promise<Spooled> {
  const mistakes = new MistakeList()
  const checked = check(mappings, mistakes)
  const few: Mapping[] = []
  while (few.length < MAPPING_BATCH) {
    const { done, value } = await checked.next()
    if (done === true) {
      if (mistakes.total > 0) throw invalidMapping('import', mistakes)
      return { batches: () => once(few), [Symbol.asyncDispose]: () => Promise.resolve() }
    }
    few.push(value)
  }
  return spoolToDisk(few, checked, mistakes)
}

async function spoolToDisk(few: readonly Mapping[], rest: AsyncIterable<Mapping>, mistakes: MistakeList): Promise<Spooled> {
  const directory = await mkdtemp(join(tmpdir(), 'signalbox-import-'))
  const path = join(directory, 'mappings')
  const dispose = (): Promise<void> => rm(directory, { recursive: true, force: true })
  const source: { error?: unknown } = {}
  async function* lines(): AsyncGenerator<string> {
    try {
      for (const mapping of few) yield line(mapping)
      for await (const mapping of rest) yield line(mapping)
    } catch (error) {
      source.error = error
      throw error
    }
  }
  try {
    await pipeline(Readable.from(lines()), createWriteStream(path, { mode: 0o600 }))
    if (mistakes.total > 0) throw invalidMapping('import', mistakes)
  } catch (error) {
    await dispose()
    if (source.error !== undefined || error instanceof SignalboxError) throw error
    const words = error instanceof Error ? error.message : String(error)
    throw new SignalboxError('SOURCE_WRITE', `an import needs room for a temporary file: ${words}`, { cause: error })
  }
  return { batches: () => fromDisk(path), [Symbol.asyncDispose]: dispose }
}

/** Counts mistakes and passes the good ones on; after the first mistake nothing is kept, only looked at. */
async function* check(mappings: AsyncIterable<Mapping> | Iterable<Mapping>, mistakes: MistakeList): AsyncGenerator<Mapping, undefined> {
  let number = 0
  for await (const mapping of mappings) {
    number++
    const mistake = entryMistake(mapping)
    if (mistake !== undefined) mistakes.add(number, mistake)
    if (mistakes.total === 0) yield mapping
  }
}

/** Neither identifiers nor destinations hold control characters: a tab and a line end are free. */
function line({ identifier, destination }: Mapping): string {
  return `${identifier}\t${destination}\n`
}

async function* fromDisk(path: string): AsyncGenerator<Mapping[]> {
  let batch: Mapping[] = []
  let rest = ''
  // Not readline: it also ends lines at U+2028 and U+2029, which an identifier may hold.
  for await (const chunk of createReadStream(path, { encoding: 'utf8' })) {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const text of lines) {
      const tab = text.indexOf('\t')
      batch.push({ identifier: text.slice(0, tab), destination: text.slice(tab + 1) })
      if (batch.length < MAPPING_BATCH) continue
      yield lastOfEach(batch)
      batch = []
    }
  }
  if (batch.length > 0) yield lastOfEach(batch)
}

async function* once(batch: readonly Mapping[]): AsyncGenerator<Mapping[]> {
  if (batch.length > 0) yield lastOfEach(batch)
}

function lastOfEach(batch: readonly Mapping[]): Mapping[] {
  return [...new Map(batch.map((mapping) => [mapping.identifier, mapping])).values()]
}
