/** What a run leaves: plain data, written as JSON, from which tables, charts, verdicts and documents are made. */
import type { FigureKind, Figures, Goal } from './question.ts'
import type { Machine } from './machine.ts'

export interface SubjectResult {
  readonly name: string
  readonly rounds: readonly Figures[]
}

export interface QuestionResult {
  readonly name: string
  readonly title: string
  readonly method: string
  readonly figures: Readonly<Record<string, FigureKind>>
  readonly goals: readonly Goal[]
  /** In the order in which they were measured. */
  readonly subjects: readonly SubjectResult[]
  readonly missing: readonly { readonly subject: string; readonly why: string }[]
  readonly notes: readonly string[]
  readonly seconds: number
  /** Why it came to no end. */
  readonly failure?: string
}

export interface Report {
  /** ISO 8601. */
  readonly made: string
  readonly quick: boolean
  readonly seconds: number
  /** Microseconds of work that were added to each connection on purpose. */
  readonly seededRegression: number
  readonly machine: Machine
  readonly questions: readonly QuestionResult[]
}
