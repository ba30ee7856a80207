/**
 * How V8 collects garbage in our processes, where its defaults are wrong for what comes and goes by the thousand. Another V8
 * may not know such a word, which would be a line on stderr and nothing else; so they are said to the one that they were
 * measured with, and to later ones.
 */
import { setFlagsFromString } from 'node:v8'

const MEASURED = 14

/**
 * V8 watches where objects come from, and puts those of a place whose objects mostly survive into old space at once. What a
 * session makes seems to survive when a collection falls into the first busy second; from then on it is made in old space, where it
 * keeps its session, sockets and all, until the next full collection, so that everything seems to survive.
 */
const NO_PRETENURING = '--no-allocation-site-pretenuring'
/** Else every 64 MB that were read mean a full collection: a third of the price of a large transfer. */
const EXTERNAL_IN_LIMIT = '--external-memory-accounted-in-global-limit'

/** Called before a process begins its work. The primary keeps what it read in memory of other kinds, under V8's own rules. */
export function tuneCollector(of: 'worker' | 'primary'): void {
  if (Number.parseInt(process.versions.v8, 10) < MEASURED) return
  setFlagsFromString(NO_PRETENURING)
  if (of === 'worker') setFlagsFromString(EXTERNAL_IN_LIMIT)
}
