/**
 * Takes in an import: checks every mapping, keeps a few as a map and writes the rest to a file in the format of mapping
 * files, so that an import of any size takes constant memory here and can be sorted by the thread.
 */
import { open, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { asSignalboxError } from '../../errors.ts'
import { MAPPING_OVERLAY } from '../../limits.ts'
import { invalidMapping, MistakeList } from '../mistakes.ts'
import type { Mapping } from '../source.ts'
import type { Normalize } from './parser.ts'
import { failedToWrite } from './replace.ts'
import { storable } from './storable.ts'

/** Characters gathered before they are written. */
const PIECE = 65_536

export interface SpoolOptions {
  readonly temporary: string
  readonly normalize: Normalize
  readonly destinations: ReadonlySet<string>
  /** Whether few mappings may stay in memory. */
  readonly keepFew: boolean
}

/** Few: the mappings themselves. Many: they are in the file, which the caller removes. */
export type Spooled = { readonly few: ReadonlyMap<string, string> } | { readonly path: string }

/**
 * Rejects with SOURCE_INVALID when a mapping is wrong (its "line" is its number, from 1), with SOURCE_WRITE, or with
 * whatever the giver rejects with; then no file is left.
 */
export async function spool(
  mappings: AsyncIterable<Mapping> | Iterable<Mapping>,
  options: SpoolOptions,
): Promise<Spooled> {
  const few = new Map<string, string>()
  const mistakes = new MistakeList()
  let file: SpoolFile | undefined
  let number = 0
  try {
    if (!options.keepFew) file = await SpoolFile.create(options.temporary)
    for await (const { identifier, destination } of mappings) {
      const name = check(identifier, destination, ++number, options, mistakes)
      if (name === undefined || mistakes.total > 0) continue
      if (file === undefined && few.size >= MAPPING_OVERLAY) {
        file = await SpoolFile.create(options.temporary)
        for (const [early, where] of few) await file.add(early, where)
        few.clear()
      }
      if (file === undefined) few.set(name, destination)
      else await file.add(name, destination)
    }
    if (mistakes.total > 0) throw invalidMapping('import', mistakes)
    if (file === undefined) return { few }
    await file.end()
    return { path: options.temporary }
  } catch (error) {
    await file?.discard()
    throw error
  }
}

function check(
  identifier: string,
  destination: string,
  number: number,
  options: SpoolOptions,
  mistakes: MistakeList,
): string | undefined {
  if (!options.destinations.has(destination)) {
    mistakes.add(number, `destination ${JSON.stringify(destination.slice(0, 64))} is not declared`)
    return undefined
  }
  try {
    return storable(identifier, options.normalize)
  } catch (thrown) {
    const error = asSignalboxError(thrown)
    if (error.code !== 'CLIENT_BAD_IDENTIFIER') throw error
    mistakes.add(number, error.message)
    return undefined
  }
}

class SpoolFile {
  readonly #path: string
  readonly #handle: FileHandle
  #text = ''

  static async create(path: string): Promise<SpoolFile> {
    try {
      return new SpoolFile(path, await open(path, 'wx', 0o600))
    } catch (error) {
      throw failedToWrite(path, error)
    }
  }

  private constructor(path: string, handle: FileHandle) {
    this.#path = path
    this.#handle = handle
  }

  async add(identifier: string, destination: string): Promise<void> {
    this.#text += `${identifier}\t${destination}\n`
    if (this.#text.length >= PIECE) await this.#write()
  }

  async end(): Promise<void> {
    await this.#write()
    await this.#handle.close()
  }

  async discard(): Promise<void> {
    await this.#handle.close()
    await rm(this.#path, { force: true })
  }

  async #write(): Promise<void> {
    const text = this.#text
    this.#text = ''
    try {
      await this.#handle.writeFile(text)
    } catch (error) {
      throw failedToWrite(this.#path, error)
    }
  }
}
