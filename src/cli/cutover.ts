/**
 * `signalbox cutover`: one account, or many from a list. Many go in batches, so that a run that ends (Ctrl-C, a lost
 * connection, a refusal) leaves little in doubt; the accounts that were not moved are written down for the next run. Moving
 * one that is there already is nothing, so the whole list again is always right too.
 */
import { rm, writeFile } from 'node:fs/promises'
import { SignalboxError } from '../errors.ts'
import { readAccounts } from './account-list.ts'
import { linesOf } from './client.ts'
import type { Client } from './client.ts'
import { createProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { showList } from './show.ts'
import { askAndShow, objects, refused, talk, warnUnconfirmed } from './talk.ts'
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
/** Why a run stopped that the instance didn't take on. */
const REFUSED = 'refused'
const REST = '.rest'

export async function cutover(terminal: Terminal, accounts: readonly string[], options: CutoverOptions): Promise<Status> {
  const [only] = accounts
  if (only !== undefined && accounts.length === 1 && options.from === undefined) return cutoverOne(terminal, only, options)
  return talk(terminal, options, async (client) => {
    const listed = options.from === undefined ? [] : await readList(terminal, client, options.from, options.to)
    const all = [...new Set([...accounts, ...listed])]
    return interruptible((signal) => cutoverMany(terminal, client, all, { ...options, signal }))
  })
}

/** The accounts of a list. Where it is a mapping file, its own destinations are not where the accounts go: that is said. */
async function readList(terminal: Terminal, client: Client, path: string, to: string): Promise<readonly string[]> {
  let known: ReadonlySet<string> | undefined
  const destinations = async (): Promise<ReadonlySet<string>> => (known ??= await destinationsOf(client))
  const { accounts, mapped } = await readAccounts(terminal, path, destinations)
  for (const [destination, lines] of mapped) {
    if (destination === to) continue
    await write(terminal.stderr, `signalbox: ${lines} ${lines === 1 ? 'line' : 'lines'} of ${path} ${lines === 1 ? 'names' : 'name'} ${plain(destination)}; all accounts go to ${plain(to)}\n`)
  }
  return accounts
}

async function destinationsOf(client: Client): Promise<ReadonlySet<string>> {
  const { status, json, text } = await client.ask({ method: 'GET', path: '/destinations' })
  if (status !== 200) throw new SignalboxError('CONFIG_INVALID', `the destinations can't be asked for: ${plain(text)}`)
  return new Set(objects(json?.['destinations']).map(({ destination }) => String(destination)))
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
  const warned = new Set<string>()
  let stopped: string | undefined
  try {
    for (let at = 0; at < accounts.length && stopped === undefined; at += BATCH) {
      stopped = await batch(terminal, client, accounts.slice(at, at + BATCH), { options, left, outcome, progress, warned })
    }
  } catch (thrown) {
    if (!(thrown instanceof SignalboxError)) throw thrown
    stopped = options.signal.aborted ? 'interrupted' : thrown.message
  } finally {
    progress.end()
  }
  await write(terminal.stderr, `${outcome.done} of ${accounts.length} moved to ${plain(options.to)}${outcome.failed > 0 ? `, ${outcome.failed} failed` : ''}\n`)
  // What was refused has been said.
  if (stopped !== undefined && stopped !== REFUSED) await write(terminal.stderr, `signalbox: ${plain(stopped)}\n`)
  if (left.size === 0) {
    await forgetRest(options)
    return 0
  }
  // Nothing was tried: what an earlier run has left stands.
  if (stopped !== REFUSED || left.size < accounts.length) await sayHowToGoOn(terminal, left, options)
  return 1
}

interface Run {
  readonly options: ManyOptions
  /** What is not moved yet. */
  readonly left: Set<string>
  readonly outcome: Outcome
  readonly progress: Progress
  /** Warnings that have been shown: the same for every account. */
  readonly warned: Set<string>
}

/** Undefined: all of them were answered, one way or the other. Otherwise why it makes no sense to go on. */
async function batch(terminal: Terminal, client: Client, accounts: readonly string[], { options, left, outcome, progress, warned }: Run): Promise<string | undefined> {
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
    return REFUSED
  }
  // The answer names accounts as they are looked up: in lower case, where the instance makes no difference.
  const ours = Map.groupBy(accounts, (account) => account.toLowerCase())
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
      const meant = ours.get(identifier.toLowerCase()) ?? []
      if (!meant.includes(identifier) || !left.delete(identifier)) for (const account of meant) left.delete(account)
    } else outcome.failed++
    progress.at(outcome.done + outcome.failed)
    if (options.json === true) await write(terminal.stdout, `${JSON.stringify(line)}\n`)
    else if (typeof error === 'string') await write(terminal.stderr, `${plain(identifier)}: ${plain(error)}\n`)
    const { warning, ...told } = line
    await warnUnconfirmed(terminal, told)
    if (typeof warning !== 'string' || warned.has(warning)) continue
    warned.add(warning)
    await warnUnconfirmed(terminal, { warning })
  }
  return answered < accounts.length ? (why ?? 'the instance ended its answer before its time') : undefined
}

async function sayHowToGoOn(terminal: Terminal, left: ReadonlySet<string>, { to, from, rest }: CutoverOptions): Promise<void> {
  const path = rest ?? restOf(from)
  if (path === undefined) {
    await write(terminal.stderr, 'To go on, run it again with the same list: accounts that have been moved are left as they are.\n')
    return
  }
  await writeFile(path, [...left].map((account) => `${account}\n`).join(''), { mode: 0o600 })
  await write(terminal.stderr, `Not moved: ${left.size}, listed in ${path}. To go on:\n  signalbox cutover --to ${to} --from ${path}\n`)
}

/** Beside the list; the rest of a rest is the same file. */
function restOf(from: string | undefined): string | undefined {
  if (from === undefined || from === '-') return undefined
  return from.endsWith(REST) ? from : `${from}${REST}`
}

/** Nothing is left: what an earlier run of the same list has written down is done. */
async function forgetRest({ from, rest }: CutoverOptions): Promise<void> {
  const path = rest ?? restOf(from)
  if (path !== undefined && path !== from) await rm(path, { force: true })
}
