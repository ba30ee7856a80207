/**
 * `signalbox cutover`: one account, or many from a list. Many go in batches, so that a run that ends (Ctrl-C, a lost
 * connection, a refusal) leaves little in doubt; the accounts that were not moved are written down for the next run. Moving
 * one that is there already is nothing, so the whole list again is always right too.
 */
import { createReadStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { SignalboxError } from '../errors.ts'
import { linesOf } from './client.ts'
import type { Client } from './client.ts'
import { createProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { showList } from './show.ts'
import { askAndShow, refused, talk, warnUnconfirmed } from './talk.ts'
import type { Status, TalkOptions } from './talk.ts'
import { interruptible, plain, write } from './terminal.ts'
import type { Terminal } from './terminal.ts'

export interface CutoverOptions extends TalkOptions {
  readonly to: string
  /** A file with an account a line; `-` is standard input. */
  readonly from?: string
  /** Where the accounts that were not moved are written; default: beside the list. */
  readonly rest?: string
  /** Seconds that logins are held at most. */
  readonly hold?: number
}

/** Accounts of one request. */
const BATCH = 1_000

export async function cutover(terminal: Terminal, accounts: readonly string[], options: CutoverOptions): Promise<Status> {
  const [only] = accounts
  if (only !== undefined && accounts.length === 1 && options.from === undefined) return cutoverOne(terminal, only, options)
  return talk(terminal, options, async (client) => {
    const all = [...new Set([...accounts, ...(options.from === undefined ? [] : await readList(terminal, options.from))])]
    return interruptible((signal) => cutoverMany(terminal, client, all, { ...options, signal }))
  })
}

function cutoverOne(terminal: Terminal, identifier: string, options: CutoverOptions): Promise<Status> {
  const call = { method: 'POST', path: '/accounts/cutover', query: { identifier, destination: options.to, hold: options.hold } } as const
  return askAndShow(terminal, options, call, (json) => {
    const text = (name: string): string => {
      const value = json[name]
      return typeof value === 'string' || typeof value === 'number' ? plain(String(value)) : 'the default'
    }
    const ended = `${text('sessions_ended')} sessions ended, ${text('ms')} ms`
    return `${text('identifier')}: ${text('result')} from ${text('from')} to ${text('destination')}, ${ended}\n${showList(json['steps'])}`
  })
}

interface Outcome {
  done: number
  failed: number
}

type ManyOptions = CutoverOptions & { readonly signal: AbortSignal }

async function cutoverMany(terminal: Terminal, client: Client, accounts: readonly string[], options: ManyOptions): Promise<Status> {
  const left = new Set(accounts)
  const outcome: Outcome = { done: 0, failed: 0 }
  const progress = createProgress(terminal)
  progress.phase(`moving to ${plain(options.to)}`, accounts.length)
  let stopped: string | undefined
  try {
    for (let at = 0; at < accounts.length && stopped === undefined; at += BATCH) {
      stopped = await batch(terminal, client, accounts.slice(at, at + BATCH), { options, left, outcome, progress })
    }
  } catch (thrown) {
    if (!(thrown instanceof SignalboxError)) throw thrown
    stopped = options.signal.aborted ? 'interrupted' : thrown.message
  } finally {
    progress.end()
  }
  await write(terminal.stderr, `${outcome.done} of ${accounts.length} moved to ${plain(options.to)}${outcome.failed > 0 ? `, ${outcome.failed} failed` : ''}\n`)
  if (stopped !== undefined) await write(terminal.stderr, `signalbox: ${plain(stopped)}\n`)
  if (left.size === 0) return 0
  await sayHowToGoOn(terminal, left, options)
  return 1
}

interface Run {
  readonly options: ManyOptions
  /** What is not moved yet. */
  readonly left: Set<string>
  readonly outcome: Outcome
  readonly progress: Progress
}

/** Undefined: all of them were answered, one way or the other. Otherwise why it makes no sense to go on. */
async function batch(terminal: Terminal, client: Client, accounts: readonly string[], { options, left, outcome, progress }: Run): Promise<string | undefined> {
  const answer = await client.stream({
    method: 'POST',
    path: '/accounts/cutover',
    query: { destination: options.to, hold: options.hold },
    body: `${accounts.join('\n')}\n`,
    accept: 'application/x-ndjson',
    signal: options.signal,
  })
  if (!answer.ok) {
    await refused(terminal, options, answer.refused)
    return 'refused'
  }
  // The answer names accounts as they are looked up; which of ours that is shows for certain when all have been answered.
  const ours = new Map(accounts.map((account) => [account.toLowerCase(), account]))
  const failed: string[] = []
  let answered = 0
  let why: string | undefined
  for await (const line of linesOf(answer.stream)) {
    const { identifier } = line
    if (typeof identifier !== 'string') {
      // The counts at the end, or what no further account would get past.
      if (typeof line['error'] === 'string') why = line['error']
      continue
    }
    answered++
    const error = line['error']
    if (error === undefined) {
      outcome.done++
      left.delete(left.has(identifier) ? identifier : (ours.get(identifier.toLowerCase()) ?? identifier))
    } else {
      outcome.failed++
      failed.push(identifier)
    }
    progress.at(outcome.done + outcome.failed)
    if (options.json === true) await write(terminal.stdout, `${JSON.stringify(line)}\n`)
    else if (typeof error === 'string') await write(terminal.stderr, `${plain(identifier)}: ${plain(error)}\n`)
    await warnUnconfirmed(terminal, line)
  }
  if (answered >= accounts.length) {
    for (const account of accounts) left.delete(account)
    for (const account of failed) left.add(account)
  }
  return answered < accounts.length ? (why ?? 'the instance ended its answer before its time') : undefined
}

async function sayHowToGoOn(terminal: Terminal, left: ReadonlySet<string>, { to, from, rest }: CutoverOptions): Promise<void> {
  const path = rest ?? (from === undefined || from === '-' ? undefined : `${from}.rest`)
  if (path === undefined) {
    await write(terminal.stderr, 'To go on, run it again with the same list: accounts that have been moved are left as they are.\n')
    return
  }
  await writeFile(path, [...left].map((account) => `${account}\n`).join(''), { mode: 0o600 })
  await write(terminal.stderr, `Not moved: ${left.size}, listed in ${path}. To go on:\n  signalbox cutover --to ${to} --from ${path}\n`)
}

/** An account a line; blank lines and comments are passed over. Further fields of a mapping file are ignored. */
async function readList(terminal: Terminal, path: string): Promise<string[]> {
  const accounts: string[] = []
  try {
    const input = path === '-' ? terminal.stdin : createReadStream(path)
    // An error of the stream is not readline's to tell.
    const broken = new Promise<never>((_, reject) => input.once('error', reject))
    const lines = createInterface({ input, crlfDelay: Infinity })
    const read = (async () => {
      for await (const line of lines) {
        const [account = ''] = line.trim().split(/[ \t]/)
        if (account !== '' && !account.startsWith('#')) accounts.push(account)
      }
    })()
    await Promise.race([read, broken])
  } catch (cause) {
    throw new SignalboxError('CONFIG_INVALID', `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  if (accounts.length === 0) throw new SignalboxError('CONFIG_INVALID', `${path} names no account`)
  return accounts
}
