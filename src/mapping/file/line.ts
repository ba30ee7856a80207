/**
 * Lines as they stand in a table's image and in a file that Signalbox wrote: `identifier TAB destination LF`, UTF-8,
 * normalised. Owns the order of lines. The tab is lower than every byte that an identifier may hold, so comparing up
 * to and including it orders by the identifier's bytes, a prefix first.
 */
export const TAB = 0x09
export const LF = 0x0a
export const CR = 0x0d
export const SPACE = 0x20
export const QUOTE = 0x22
export const HASH = 0x23

/** Compares the identifiers of two lines, each ended by its tab: negative, zero, positive. */
export function compareLines(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number): number {
  for (let i = aStart, j = bStart; ; i++, j++) {
    const x = a[i] ?? TAB
    const y = b[j] ?? TAB
    if (x !== y) return x - y
    if (x === TAB) return 0
  }
}

/** Position of the line feed at or after `from`: there must be one, as in every image. */
export function lineEnd(bytes: Uint8Array, from: number): number {
  let i = from
  for (let byte = bytes[i] ?? LF; byte !== LF; byte = bytes[i] ?? LF) i++
  return i
}

/** Position of the tab at or after `from`: there must be one. */
export function lineTab(bytes: Uint8Array, from: number): number {
  let i = from
  for (let byte = bytes[i] ?? TAB; byte !== TAB; byte = bytes[i] ?? TAB) i++
  return i
}
