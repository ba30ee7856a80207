/**
 * `npm run bench`: asks the questions of bench/questions/ one after the other, each in a process of its own, and reports:
 * a table, JSON, and a page. `--check` judges; nothing else does. Exit statuses: 0 done, 1 a question came to no end or
 * (with --check) a must falls short, 2 wrong usage.
 */
import { fork } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Presets, SingleBar } from 'cli-progress'
import { Command, InvalidArgumentError, Option } from 'commander'
import { loadQuestion, QUESTIONS } from './ask.ts'
import type { Asked, Told } from './ask.ts'
import { withMeasured } from './document.ts'
import { besideEarlier, regressions, verdicts } from './judge.ts'
import { machine } from './machine.ts'
import type { Question } from './question.ts'
import { reportHtml } from './report-html.ts'
import { reportText, verdictText } from './report-text.ts'
import type { QuestionResult, Report } from './result.ts'

const ROUNDS = 5
const QUICK_ROUNDS = 2
/** Beside an earlier state: with fewer, chance alone looks like a loss now and then. */
const AGAINST_ROUNDS = 30

interface Options {
  readonly quick?: true
  readonly check?: true
  /** False with --no-peers. */
  readonly peers: boolean
  readonly list?: true
  readonly rounds?: number
  readonly json: string
  readonly html: string
  readonly baseline?: string
  readonly against?: string
  readonly from?: string
  readonly document?: string
  readonly seedRegression?: number
}

const names = readdirSync(QUESTIONS)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.slice(0, -'.ts'.length))
  .sort()

const command = new Command('npm run bench --')
  .description('What the proxy costs, beside its floor and its peers, measured in the same rounds')
  .argument('[questions...]', 'questions, or the beginnings of their names (default: all)')
  .option('--quick', 'fewer and shorter rounds of the most important questions: three minutes, for a first look')
  .option('--rounds <n>', `rounds per subject (default: ${ROUNDS}, quick: ${QUICK_ROUNDS}, with --against: ${AGAINST_ROUNDS})`, whole)
  .option('--no-peers', 'leave other proxies out: the proxy and its floor alone')
  .option('--check', 'hold the figures against musts and goals; exit 1 when a must falls short')
  .option('--baseline <file>', 'with --check: a report of this machine whose ratios must not have grown')
  .option('--against <directory>', 'measure nobody but an earlier checkout of the project, in the same rounds; with --check: it must not have been cheaper')
  .option('--json <file>', 'where the figures go', 'bench-report/report.json')
  .option('--html <file>', 'where the page goes', 'bench-report/report.html')
  .addOption(new Option('--from <file>', 'measure nothing: take the figures of an earlier run').conflicts(['quick', 'rounds', 'against', 'seedRegression']))
  .option('--document <file>', 'write the figures into a page, between its marks')
  .option('--seed-regression <µs>', 'burn so much processor time in the proxy per connection it dials', positive)
  .option('--list', 'say which questions there are')
  .action(async (asked: string[], options: Options) => {
    process.exitCode = await run(asked, options)
  })
command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
await command.parseAsync()

async function run(asked: readonly string[], options: Options): Promise<number> {
  const unknown = asked.filter((part) => !names.some((name) => name.startsWith(part)))
  if (unknown.length > 0) command.error(`error: no such question: ${unknown.join(', ')}; there are: ${names.join(', ')}`, { exitCode: 2 })
  const chosen = await Promise.all(
    names.filter((name) => asked.length === 0 || asked.some((part) => name.startsWith(part))).map(async (name) => ({ name, question: await loadQuestion(name) })),
  )
  if (options.from !== undefined && asked.length > 0) command.error('error: --from takes all that was measured: no questions can be chosen', { exitCode: 2 })
  const quick = options.quick === true
  const left = chosen
    .filter(({ question }) => asked.length > 0 || !quick || question.takes.quick > 0)
    .filter(({ question }) => options.against === undefined || question.against === true)
  if (left.length === 0) command.error('error: none of these questions can be asked beside an earlier checkout', { exitCode: 2 })
  if (options.list === true) {
    for (const { name, question } of chosen) process.stdout.write(`${name.padEnd(24)} ${question.title}\n`)
    return 0
  }
  if (options.against !== undefined && !existsSync(join(options.against, 'src', 'main.ts'))) {
    command.error(`error: ${options.against}: no checkout of the project (src/main.ts)`, { exitCode: 2 })
  }
  // Read first: a mistyped name must not cost twenty minutes.
  const baseline = options.baseline === undefined ? undefined : await readReport(options.baseline)
  const report = options.from === undefined ? await measure(left, options) : await readReport(options.from)
  const grown = baseline === undefined ? [] : regressions(report, baseline)
  process.stdout.write(`${reportText(report)}\n`)
  if (options.from === undefined) await write(options.json, `${JSON.stringify(report, undefined, 1)}\n`)
  await write(options.html, reportHtml(report, grown))
  if (options.document !== undefined) await write(options.document, withMeasured(await readFile(options.document, 'utf8'), report))
  process.stderr.write(`${options.from === undefined ? `${options.json}, ` : ''}${options.html}\n`)
  let status = report.questions.some(({ failure }) => failure !== undefined) ? 1 : 0
  if (options.check === true) {
    process.stdout.write(`${verdictText(report, grown)}\n`)
    const short = verdicts(report).some(({ goal, met }) => goal.kind === 'must' && met === false)
    if (short || grown.length > 0 || besideEarlier(report).some(({ dearer }) => dearer)) status = 1
  }
  return status
}

async function measure(chosen: readonly { name: string; question: Question }[], options: Options): Promise<Report> {
  const quick = options.quick === true
  const seeded = options.seedRegression ?? 0
  const regression = `${pathToFileURL(join(import.meta.dirname, 'regression.ts')).href}?microseconds=${seeded}`
  const proxyArguments = seeded === 0 ? [] : ['--import', regression]
  const against = options.against === undefined ? undefined : resolve(options.against)
  const rounds = options.rounds ?? (against !== undefined ? AGAINST_ROUNDS : quick ? QUICK_ROUNDS : ROUNDS)
  const facts = machine()
  const started = performance.now()
  const seconds = (question: Question): number => question.takes[quick ? 'quick' : 'full']
  const progress = createProgress(chosen.reduce((sum, { question }) => sum + seconds(question), 0))
  const questions: QuestionResult[] = []
  for (const { name, question } of chosen) {
    progress.question(name, seconds(question))
    questions.push(await ask({ name, quick, peers: options.peers, against, rounds, proxyArguments }, question, (words) => progress.doing(words)))
  }
  progress.end()
  return { made: new Date().toISOString(), quick, seconds: (performance.now() - started) / 1_000, seededRegression: seeded, machine: facts, questions }
}

/** One question in its process. A process that dies without an answer is a result, too. */
function ask(asked: Asked, { title, method, figures, goals }: Question, doing: (words: string) => void): Promise<QuestionResult> {
  const child = fork(join(import.meta.dirname, 'ask.ts'), [JSON.stringify(asked)], { execArgv: ['--expose-gc'] })
  const end = (): void => void child.kill('SIGTERM')
  process.once('exit', end)
  return new Promise((resolve) => {
    let result: QuestionResult | undefined
    child.on('message', (told: Told) => {
      if (told.type === 'doing') doing(told.words)
      else result = told.result
    })
    child.once('exit', (code, signal) => {
      process.off('exit', end)
      const failure = `its process ended with ${code ?? signal}`
      resolve(result ?? { name: asked.name, title, method, figures, goals, subjects: [], missing: [], notes: [], seconds: 0, failure })
    })
  })
}

interface RunProgress {
  question(name: string, seconds: number): void
  doing(words: string): void
  end(): void
}

/** A bar that moves with the time that questions take by their own word; without a terminal a line per question. */
function createProgress(total: number): RunProgress {
  if (process.stderr.isTTY !== true) {
    return { question: (name, seconds) => process.stderr.write(`bench: ${name}, about ${seconds} s\n`), doing: () => {}, end: () => {} }
  }
  const bar = new SingleBar({ format: '{bar} {percentage}% | {name}: {words}', stream: process.stderr, hideCursor: true, clearOnComplete: true }, Presets.shades_classic)
  let done = 0
  let current = { name: '', seconds: 0, started: performance.now() }
  let words = ''
  const draw = (): void => {
    const elapsed = Math.min((performance.now() - current.started) / 1_000, current.seconds)
    bar.update(done + elapsed, { name: current.name, words: words.slice(0, 50) })
  }
  bar.start(total, 0, { name: '', words: '' })
  const timer = setInterval(draw, 500)
  return {
    question(name, seconds) {
      done += current.seconds
      current = { name, seconds, started: performance.now() }
      words = ''
      draw()
    },
    doing(next) {
      words = next
    },
    end() {
      clearInterval(timer)
      bar.stop()
    },
  }
}

async function readReport(path: string): Promise<Report> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Report
  } catch (error) {
    return command.error(`error: ${path} is no report: ${error instanceof Error ? error.message : String(error)}`, { exitCode: 2 })
  }
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
}

function whole(text: string): number {
  const value = positive(text)
  if (!Number.isInteger(value)) throw new InvalidArgumentError('a whole number is wanted')
  return value
}

function positive(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('a positive number is wanted')
  return value
}
