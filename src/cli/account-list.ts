/**
 * A list of accounts as a person hands it over: an account a line, blank lines and comments passed over. A mapping file is
 * one as well; then each second field must be a destination that the instance has, or the line is no mapping and its first
 * word no account. Nothing is guessed: a line that can't be meant is an error that names it, and nothing is moved.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { SignalboxError } from '../errors.ts'
import type { Terminal } from './terminal.ts'

export interface AccountList {
  readonly accounts: readonly string[]
  /** Lines that name a destination, by its name. */
  readonly mapped: ReadonlyMap<string, number>
}

/**
 * @param path a file; `-` is standard input
 * @param destinations those that the instance has; asked for when a line names one
 * @throws SignalboxError CONFIG_INVALID, with the number of the line
 */
export async function readAccounts(terminal: Terminal, path: string, destinations: () => Promise<ReadonlySet<string>>): Promise<AccountList> {
  const accounts: string[] = []
  const mapped = new Map<string, number>()
  const refuse = (line: number, why: string): never => {
    throw new SignalboxError('CONFIG_INVALID', `${path}, line ${line}: ${why}`)
  }
  let number = 0
  for await (const text of linesOf(terminal, path)) {
    number++
    const [account = '', destination, ...more] = text.split(/[ \t]+/).filter((word) => word !== '')
    if (account === '' || account.startsWith('#')) continue
    if (destination !== undefined) {
      if (more.length > 0 || !(await destinations()).has(destination)) refuse(number, 'neither an account nor a mapping of one')
      mapped.set(destination, (mapped.get(destination) ?? 0) + 1)
    }
    accounts.push(account)
  }
  if (accounts.length === 0) throw new SignalboxError('CONFIG_INVALID', `${path} names no account`)
  return { accounts, mapped }
}

async function* linesOf(terminal: Terminal, path: string): AsyncGenerator<string> {
  const input = path === '-' ? terminal.stdin : createReadStream(path)
  const text = new PassThrough()
  const failed = (cause: Error): void => void text.destroy(new SignalboxError('CONFIG_INVALID', `${path} cannot be read: ${cause.message}`, { cause }))
  // A name in another encoding would become another name.
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const decoded = (chunk: Buffer | undefined): void => {
    try {
      text.write(chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true }))
    } catch {
      input.destroy()
      failed(new Error('it is not UTF-8'))
    }
  }
  input.on('error', failed)
  input.on('data', (chunk: Buffer) => decoded(chunk))
  input.on('end', () => {
    decoded(undefined)
    text.end()
  })
  // An error of the stream is not readline's to tell.
  const broken = new Promise<never>((_, reject) => text.once('error', reject))
  const lines = createInterface({ input: text, crlfDelay: Infinity })[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await Promise.race([lines.next(), broken])
      if (next.done === true) return
      yield next.value
    }
  } finally {
    broken.catch(() => {})
    text.destroy()
    if (path !== '-') input.destroy()
  }
}
