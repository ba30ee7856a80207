/**
 * The one line in which everything that changes a file source stands: one job at a time, in the order of arrival.
 * Writes that have gathered while a job ran are committed together (group commit); a write behind an exclusive job
 * (reload, import) stays behind it.
 */

type Job<Write> = { readonly writes: Write[] } | { readonly exclusive: () => Promise<void> }

export class Jobs<Write> {
  readonly #commit: (writes: readonly Write[]) => Promise<void>
  readonly #waiting: Job<Write>[] = []
  #running: Promise<void> | undefined

  /** `commit` settles every write that it is given and never rejects. */
  constructor(commit: (writes: readonly Write[]) => Promise<void>) {
    this.#commit = commit
  }

  write(write: Write): void {
    const last = this.#waiting.at(-1)
    if (last !== undefined && 'writes' in last) last.writes.push(write)
    else this.#waiting.push({ writes: [write] })
    this.#start()
  }

  exclusive<Result>(run: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ exclusive: () => run().then(resolve, reject) })
      this.#start()
    })
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  #start(): void {
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      await ('writes' in job ? this.#commit(job.writes) : job.exclusive())
    }
    this.#running = undefined
  }
}
