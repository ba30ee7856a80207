/** One deadline over one answer of a store. The work itself goes on; whoever can stop it does so in `late`. */
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'

/** Settles as `work` does, or rejects with SOURCE_TIMEOUT after `ms`, having called `late`. */
export function within<T>(clock: Clock, ms: number, doing: string, work: Promise<T>, late?: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => {
      reject(new SignalboxError('SOURCE_TIMEOUT', `${doing}: no answer within ${ms} ms`))
      late?.()
    })
    work.then(
      (value) => {
        timer.cancel()
        resolve(value)
      },
      (error: unknown) => {
        timer.cancel()
        reject(error)
      },
    )
  })
}
