/**
 * Entry of a question's process: asks one question and sends its result to the harness. A process of its own gives each
 * question the same start: a clean heap, no compiled code of another one, and nothing left behind when it fails.
 */
import { rmSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Bench, CompareOptions, Figures, Question, Subject } from './question.ts'
import type { QuestionResult } from './result.ts'

/** What the harness tells the process, as its one argument. */
export interface Asked {
  readonly name: string
  readonly quick: boolean
  readonly peers: boolean
  readonly against?: string | undefined
  readonly rounds: number
  readonly proxyArguments: readonly string[]
}

export type Told = { readonly type: 'doing'; readonly words: string } | { readonly type: 'result'; readonly result: QuestionResult }

/** Where the questions are. */
export const QUESTIONS = join(import.meta.dirname, 'questions')

export async function loadQuestion(name: string): Promise<Question> {
  const module: { default: Question } = await import(pathToFileURL(join(QUESTIONS, `${name}.ts`)).href)
  return module.default
}

const ROUND_MS = 700
const QUICK_ROUND_MS = 500

class Asking implements Bench {
  readonly quick: boolean
  readonly peers: boolean
  readonly against: string | undefined
  readonly rounds: number
  readonly roundMs: number
  readonly cores = availableParallelism()
  readonly directory: string
  readonly proxyArguments: readonly string[]
  readonly measured = new Map<string, Figures[]>()
  readonly absent: { subject: string; why: string }[] = []
  readonly notes: string[] = []
  readonly resources: AsyncDisposable[] = []

  constructor({ quick, peers, against, rounds, proxyArguments }: Asked, directory: string) {
    this.quick = quick
    this.peers = peers
    this.against = against
    this.rounds = rounds
    this.roundMs = quick ? QUICK_ROUND_MS : ROUND_MS
    this.directory = directory
    this.proxyArguments = proxyArguments
  }

  async compare(subjects: readonly Subject[], { rounds = this.rounds }: CompareOptions = {}): Promise<void> {
    const out = new Set<Subject>()
    const attempt = async (subject: Subject, words: string, measure: () => Promise<void>): Promise<void> => {
      if (out.has(subject)) return
      this.doing(`${words}: ${subject.name}`)
      try {
        await measure()
      } catch (error) {
        if (subject.peer !== true) throw new Error(`${subject.name}: ${messageOf(error)}`, { cause: error })
        out.add(subject)
        this.missing(subject.name, messageOf(error))
      }
    }
    for (const subject of subjects) await attempt(subject, 'warming', async () => subject.warm?.())
    for (let round = 0; round < rounds; round++) {
      // There and back again: what drifts from round to round weighs on both neighbours alike.
      for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
        await attempt(subject, `round ${round + 1} of ${rounds}`, async () => this.record(subject.name, await subject.round(round)))
      }
    }
  }

  record(subject: string, figures: Figures): void {
    const rounds = this.measured.get(subject)
    if (rounds === undefined) this.measured.set(subject, [figures])
    else rounds.push(figures)
  }

  missing(subject: string, why: string): void {
    this.absent.push({ subject, why })
  }

  note(text: string): void {
    if (!this.notes.includes(text)) this.notes.push(text)
  }

  doing(words: string): void {
    tell({ type: 'doing', words })
  }

  use<T extends AsyncDisposable>(resource: T): T {
    this.resources.push(resource)
    return resource
  }

  async close(): Promise<void> {
    for (const resource of this.resources.reverse()) {
      try {
        await resource[Symbol.asyncDispose]()
      } catch (error) {
        // The others have to end all the same, and what was measured counts.
        this.note(`Not everything ended in good order: ${messageOf(error)}`)
      }
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function tell(told: Told): void {
  process.send?.(told)
}

async function ask(asked: Asked): Promise<QuestionResult> {
  const question = await loadQuestion(asked.name)
  const directory = await mkdtemp(join(tmpdir(), 'signalbox-bench-'))
  await chmod(directory, 0o755)
  // What servers and tests' supports put aside goes with it.
  process.env['TMPDIR'] = directory
  const bench = new Asking(asked, directory)
  const abandoned = (): void => {
    // Nobody to tell: the harness was ended. Comes after the handlers that end the servers, which were there before.
    process.once('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }))
    process.exit(1)
  }
  process.once('disconnect', abandoned)
  // From a terminal it comes to all processes at once.
  process.once('SIGINT', abandoned)
  const started = performance.now()
  let failure: string | undefined
  try {
    await question.run(bench)
  } catch (error) {
    failure = messageOf(error)
  }
  await bench.close()
  // What failed is looked into: its logs stay.
  if (failure === undefined) await rm(directory, { recursive: true, force: true, maxRetries: 3, retryDelay: 100 })
  const { title, method, figures, goals } = question
  return {
    name: asked.name,
    title,
    method,
    figures,
    goals,
    subjects: [...bench.measured].map(([name, rounds]) => ({ name, rounds })),
    missing: bench.absent,
    notes: bench.notes,
    seconds: (performance.now() - started) / 1_000,
    ...(failure === undefined ? {} : { failure: `${failure} (its files: ${directory})` }),
  }
}

if (import.meta.main && process.send !== undefined) {
  const result = await ask(JSON.parse(process.argv[2] ?? '{}') as Asked)
  process.send({ type: 'result', result } satisfies Told, () => process.exit())
}
