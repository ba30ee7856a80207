/**
 * What Node.js warns of in a process (`warning` events) becomes events of its log. Node's own way of telling, plain text
 * between the lines of JSON, is taken out: with both, each warning would be told twice.
 */
import { processWarning } from './events.ts'
import type { Logger } from './log.ts'

/** Every warning of this process from now on. */
export function logWarnings(log: Logger): void {
  process.removeAllListeners('warning')
  process.on('warning', (error) => processWarning(log, { error }))
}
