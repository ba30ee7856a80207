/**
 * What a question of the benchmark is: the words that the harness (ask.ts, run.ts), the questions (questions/*.ts) and
 * the reports share. A question states what it asks, which figures it gives, what they ought to be, and how they are
 * measured; it prints nothing and judges nothing. One file in questions/ is one question, named after the file, with the
 * question as its default export.
 */

/** Figures of one subject in one round, by name, in the unit that the question states. */
export type Figures = Readonly<Record<string, number>>

/** A figure that a question measures. */
export interface FigureKind {
  /** Words for a table's head: "CPU per login". */
  readonly label: string
  /** "µs", "KB", "/s" … */
  readonly unit: string
  readonly better: 'less' | 'more'
  /** Stands in charts and first in tables; a question's first figure does by itself. */
  readonly chart?: boolean
}

/**
 * What a figure ought to be: at most or at least so much, in the figure's unit, or as a ratio to another subject's
 * figure (`of`). A ratio is formed in each round, between two measurements made one after the other, and judged by the
 * median of the rounds; an absolute bound is judged by the median figure. A must that falls short fails `--check`; a
 * goal is listed.
 */
export interface Goal {
  readonly kind: 'must' | 'goal'
  readonly subject: string
  readonly figure: string
  /** The value, or the ratio, is this or less. */
  readonly most?: number
  /** The value, or the ratio, is this or more. */
  readonly least?: number
  /** The subject that the ratio is formed against; absent: an absolute bound. */
  readonly of?: string
  /** Why it is so, or what it does not say; shown beside the verdict. */
  readonly text?: string
}

/** As what an earlier state of the proxy is measured. */
export function earlierName(subject: string): string {
  return `${subject}, before`
}

/** One of those that are measured: the proxy, its floor, a peer. */
export interface Subject {
  readonly name: string
  /** When it fails, that is noted and it is left out; a failure of anyone else ends the question. */
  readonly peer?: boolean
  /** Comes once before the first round: caches filled, code compiled. */
  warm?(): Promise<void>
  /** Measures once. Rounds count from 0. */
  round(round: number): Promise<Figures>
}

export interface CompareOptions {
  /** Rounds instead of the run's own (`bench.rounds`), for what is steady and takes long. */
  readonly rounds?: number
}

/** What a question is given. */
export interface Bench {
  /** A short run: fewer rounds, shorter ones, smaller data. */
  readonly quick: boolean
  /** Whether other proxies are measured, too: without them what is held against the floor is seen sooner. */
  readonly peers: boolean
  /** A checkout of an earlier state of the project, to be measured beside this one; no others are then. */
  readonly against: string | undefined
  /** Rounds per subject. */
  readonly rounds: number
  /** Length of one measurement that goes by time, ms. */
  readonly roundMs: number
  /** Processor cores that may be used; workers are started for each. */
  readonly cores: number
  /** A directory of the question's own, removed after it; readable for servers under other users. */
  readonly directory: string
  /** Further arguments of Node.js for the proxy under test: a seeded regression, if any. */
  readonly proxyArguments: readonly string[]
  /**
   * Warms every subject, then measures them in turn, round by round, every other round in the opposite order. Neighbours
   * in the list are measured one after the other, so put those that are compared side by side.
   */
  compare(subjects: readonly Subject[], options?: CompareOptions): Promise<void>
  /** Adds one round's figures of a subject by hand, where `compare` does not fit. */
  record(subject: string, figures: Figures): void
  /** A subject that cannot be measured here, and why. */
  missing(subject: string, why: string): void
  /** A sentence that belongs beside the figures. */
  note(text: string): void
  /** Shows what is going on, for what takes longer than a second. */
  doing(words: string): void
  /** Hands a resource over: it is ended after the question, the last one first. */
  use<T extends AsyncDisposable>(resource: T): T
}

export interface Question {
  /** One sentence: what is asked. */
  readonly title: string
  /** How it is measured, in a few sentences, for the report. */
  readonly method: string
  readonly figures: Readonly<Record<string, FigureKind>>
  readonly goals: readonly Goal[]
  /** Seconds that it takes about: for the progress bar. quick: 0 leaves it out of a quick run that does not name it. */
  readonly takes: { readonly full: number; readonly quick: number }
  /** It can be asked beside an earlier state of the project. */
  readonly against?: true
  run(bench: Bench): Promise<void>
}
