/** Waits for something that another process does. The bound only keeps a failing test from hanging. */
const BOUND_MS = 60_000

/** Resolves with the first value that isn't undefined or false; throws, saying `what` was awaited, when it never comes. */
export async function soon<T>(what: string, look: () => T | Promise<T>): Promise<Exclude<T, undefined | false>> {
  const until = Date.now() + BOUND_MS
  for (;;) {
    const found = await look()
    if (isThere(found)) return found
    if (Date.now() > until) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function isThere<T>(value: T): value is Exclude<T, undefined | false> {
  return value !== undefined && value !== false
}
