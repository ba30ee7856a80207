/**
 * Single changes as bytes, so that thousands of them cross to the thread as one buffer: the line that a mapping gets,
 * or `identifier TAB LF` for one that goes. Sorted by identifier where they are read.
 */
import { compareLines, LF, lineEnd, TAB } from './line.ts'

export interface Change {
  /** With tab and line feed. */
  readonly line: Uint8Array
  readonly deleted: boolean
}

/** Undefined as a destination: the mapping goes. */
export function encodeChanges(changes: Iterable<readonly [string, string | undefined]>): Uint8Array {
  let text = ''
  for (const [identifier, destination] of changes) text += `${identifier}\t${destination ?? ''}\n`
  return new TextEncoder().encode(text)
}

/** In order of the identifiers. */
export function decodeChanges(bytes: Uint8Array): Change[] {
  const changes: Change[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = lineEnd(bytes, at)
    const line = bytes.subarray(at, end + 1)
    changes.push({ line, deleted: line[line.length - 2] === TAB && line[line.length - 1] === LF })
    at = end + 1
  }
  return changes.sort((a, b) => compareLines(a.line, 0, b.line, 0))
}
