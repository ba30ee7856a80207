/**
 * Many pieces of work out of a list that is read as it comes, so many at a time, and what came of each in the order of
 * completion. Nothing is read ahead of what is being worked on, and nothing is begun while finished work waits to be
 * taken: memory depends on `most` alone. Whoever stops taking gets no further work begun, and what is under way is brought to its end.
 */

export interface Many<Item, Result> {
  readonly items: AsyncIterator<Item>
  /** Never rejects. */
  readonly work: (item: Item) => Promise<Result>
  /** At a time. */
  readonly most: number
  /** No more work is begun from now on. */
  readonly enough: () => boolean
  /** Aborted: it may be enough by now. Without it that is noticed when work, or an item, comes in. */
  readonly stop?: AbortSignal
}

/** The results, as many at once as are there. Throws what `items` throws, after the work under way. */
export async function* workOff<Item, Result>({ items, work, most, enough, stop }: Many<Item, Result>): AsyncGenerator<readonly Result[], void, undefined> {
  const underWay = new Set<Promise<void>>()
  const done: Result[] = []
  let wake = Promise.withResolvers<void>()
  let reading = false
  let over = false
  let failure: { readonly error: unknown } | undefined

  const begin = (item: Item): void => {
    const one = work(item).then((result) => {
      done.push(result)
      underWay.delete(one)
      wake.resolve()
    })
    underWay.add(one)
  }
  const read = (): void => {
    reading = true
    items.next().then(
      (next) => {
        reading = false
        if (next.done === true) over = true
        else if (!over && !enough()) begin(next.value)
        wake.resolve()
      },
      (error: unknown) => {
        reading = false
        over = true
        failure = { error }
        wake.resolve()
      },
    )
  }

  const stopped = (): void => wake.resolve()
  stop?.addEventListener('abort', stopped)
  try {
    for (;;) {
      if (done.length > 0) {
        yield done.splice(0)
        continue
      }
      over ||= enough()
      if (!over && !reading && underWay.size < most) read()
      // A read that nobody will use is not waited for.
      if (underWay.size === 0 && over) break
      await wake.promise
      wake = Promise.withResolvers()
    }
    if (failure !== undefined) throw failure.error
  } finally {
    over = true
    stop?.removeEventListener('abort', stopped)
    await Promise.all(underWay)
  }
}
