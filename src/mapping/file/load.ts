/**
 * Reads a mapping file into a table: one open, everything else by descriptor, so that nothing can be exchanged between
 * a check and the read. Refuses what isn't a regular file (opened without blocking: a FIFO would wait for a writer for
 * ever), what is larger than MAPPING_FILE, and a file that changes while it is read. Runs in the thread.
 */
import { randomInt } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { SignalboxError } from '../../errors.ts'
import { MAPPING_FILE, MAPPING_LINE } from '../../limits.ts'
import { invalidMapping } from '../mistakes.ts'
import { buildTable } from './build.ts'
import { DestinationNames } from './destination-names.ts'
import { fingerprint, fingerprintOf } from './fingerprint.ts'
import type { Fingerprint } from './fingerprint.ts'
import { Image } from './image.ts'
import { Parser } from './parser.ts'
import type { Normalize } from './parser.ts'
import type { TableData } from './table.ts'

export interface LoadTask {
  readonly path: string
  readonly normalize: Normalize
  readonly destinations: readonly string[]
}

export interface Loaded {
  /** Its order may not be known yet. */
  readonly table: TableData
  /** Of the state of the file that was read. */
  readonly fingerprint: Fingerprint
  /** Comment lines. */
  readonly comments: number
  /** One sentence each. */
  readonly warnings: readonly string[]
}

const PIECE = 1 << 20
/** Room for the last line as it is being normalised: to move the whole for want of a line feed would be a pity. */
const SLACK = 2 * MAPPING_LINE
/** Times that a file which changes under our hands is read. */
const READS = 3

/** Throws SOURCE_UNAVAILABLE (missing, unreadable, never still) and SOURCE_INVALID (mistakes; no regular file; too large). */
export function load(task: LoadTask): Loaded {
  for (let read = 1; ; read++) {
    const loaded = loadOnce(task)
    if (loaded !== undefined) return loaded
    if (read === READS) throw new SignalboxError('SOURCE_UNAVAILABLE', `${task.path}: changes while it is read`)
  }
}

function loadOnce(task: LoadTask): Loaded | undefined {
  const descriptor = open(task.path)
  try {
    const stats = fstatSync(descriptor, { bigint: true })
    if (!stats.isFile()) {
      const kind = stats.isDirectory() ? 'a directory' : stats.isFIFO() ? 'a FIFO' : 'not a regular file'
      throw new SignalboxError('SOURCE_INVALID', `${task.path}: is ${kind}; a mapping file is a regular file`)
    }
    if (stats.size > MAPPING_FILE) {
      throw new SignalboxError('SOURCE_INVALID', `${task.path}: ${stats.size} bytes; at most ${MAPPING_FILE} are read`)
    }
    const before = fingerprint(stats)
    const image = new Image(Number(stats.size) + SLACK)
    const names = new DestinationNames(task.destinations)
    const seed = randomInt(2 ** 32) | 0
    const parser = new Parser(image, names, { normalize: task.normalize, seed })
    readAll(descriptor, task.path, parser)
    if (fingerprintOf(descriptor) !== before) return undefined
    if (parser.mistakes.total > 0) throw invalidMapping(task.path, parser.mistakes)
    const { notes, ascending, counts } = parser
    const { table, duplicates } = buildTable({ image, notes, seed, ascending, names, counts })
    const warnings: string[] = []
    if (parser.furtherFields > 0) warnings.push(`further fields on ${lines(parser.furtherFields)} were ignored`)
    if (duplicates > 0) warnings.push(`identifiers given more than once: ${lines(duplicates)} replaced by a later one`)
    return { table, fingerprint: before, comments: parser.comments, warnings }
  } finally {
    closeSync(descriptor)
  }
}

function open(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

function readAll(descriptor: number, path: string, parser: Parser): void {
  const piece = new Uint8Array(PIECE)
  let total = 0
  for (;;) {
    let length: number
    try {
      length = readSync(descriptor, piece, 0, PIECE, null)
    } catch (cause) {
      throw unreadable(path, cause)
    }
    if (length === 0) break
    total += length
    // A file that grows faster than it is read would never end.
    if (total > MAPPING_FILE) throw new SignalboxError('SOURCE_INVALID', `${path}: more than ${MAPPING_FILE} bytes`)
    parser.push(piece.subarray(0, length))
  }
  parser.end()
}

function unreadable(path: string, cause: unknown): SignalboxError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new SignalboxError('SOURCE_UNAVAILABLE', `mapping file ${path}: ${reason}`, { cause })
}

function lines(count: number): string {
  return count === 1 ? '1 line' : `${count} lines`
}
