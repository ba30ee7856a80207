/**
 * The end of a dial, or of an HTTP request, before its time. The deadline and the client's departure meet here; whichever comes first stops
 * the step that is under way (there is only ever one), which gives up what it holds and rejects with the reason. A
 * step that begins afterwards rejects at once.
 */

/** Begins a step: settles once through the callbacks, and returns what gives up everything that the step holds. */
export type Begin<T> = (resolve: (value: T) => void, reject: (error: Error) => void) => () => void

export class Halt {
  #reason: Error | undefined
  #stop: ((reason: Error) => void) | undefined

  /** Why it is over; undefined: it is not. */
  get reason(): Error | undefined {
    return this.#reason
  }

  /** Ends it. The first reason counts. */
  now(reason: Error): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#stop?.(reason)
  }

  /** Runs one step that can be stopped. */
  step<T>(begin: Begin<T>): Promise<T> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason)
    return new Promise((resolve, reject) => {
      let open = true
      const settled = (): boolean => {
        const first = open
        open = false
        if (first) this.#stop = undefined
        return first
      }
      const giveUp = begin(
        (value) => {
          if (settled()) resolve(value)
        },
        (error) => {
          if (settled()) reject(error)
        },
      )
      if (!open) return
      // By way of a variable: V8 puts a function that is written straight into a property into old space, where it keeps the
      // whole dial alive until the next full collection.
      const stop = (reason: Error): void => {
        open = false
        this.#stop = undefined
        giveUp()
        reject(reason)
      }
      this.#stop = stop
    })
  }

  /** Waits for a promise that can't be stopped; what it gives after the end is dropped. */
  until<T>(promise: Promise<T>): Promise<T> {
    return this.step((resolve, reject) => {
      promise.then(resolve, reject)
      return nothingHeld
    })
  }
}

function nothingHeld(): void {}
