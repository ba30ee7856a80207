/**
 * `signalbox mapping import`: sends a file or standard input as it is read, and tells what the instance tells of it. All of
 * it is taken in or none: after Ctrl-C while it is being sent nothing has changed; later it is the instance's to finish.
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { SignalboxError } from '../errors.ts'
import { linesOf } from './client.ts'
import type { Client, Line } from './client.ts'
import { createProgress } from './progress.ts'
import type { Progress } from './progress.ts'
import { refused, talk, warnUnconfirmed } from './talk.ts'
import type { Status, TalkOptions } from './talk.ts'
import { interruptible, plain, write } from './terminal.ts'
import type { Terminal } from './terminal.ts'

export interface ImportOptions extends TalkOptions {
  readonly mode: 'merge' | 'replace'
  readonly dryRun?: boolean
}

/** `-` is standard input. */
export function mappingImport(terminal: Terminal, file: string, options: ImportOptions): Promise<Status> {
  return talk(terminal, options, (client) =>
    interruptible(async (signal) => {
      const progress = createProgress(terminal)
      try {
        return await send(terminal, client, { file, options, signal, progress })
      } finally {
        progress.end()
      }
    }),
  )
}

interface Sending {
  readonly file: string
  readonly options: ImportOptions
  readonly signal: AbortSignal
  readonly progress: Progress
}

async function send(terminal: Terminal, client: Client, { file, options, signal, progress }: Sending): Promise<Status> {
  const { mode, dryRun } = options
  const source = file === '-' ? { stream: terminal.stdin, size: undefined } : await openFile(file)
  progress.phase('sending', source.size)
  const answer = await client
    .stream({
      method: 'POST',
      path: '/mappings/import',
      query: { mode, ...(dryRun === true ? { dry_run: true } : {}) },
      body: Readable.from(counted(source.stream, progress)),
      signal,
    })
    .catch((thrown: unknown): never => {
      if (!signal.aborted) throw thrown
      throw new SignalboxError('CLIENT_CLOSED', 'interrupted while it was being sent: nothing has changed')
    })
  if (!answer.ok) {
    progress.end()
    return refused(terminal, options, answer.refused)
  }
  let last: Line = {}
  try {
    for await (const line of linesOf(answer.stream)) {
      last = line
      if (line['phase'] === 'checked') progress.phase('writing', Number(line['mappings']))
      else if (line['phase'] === 'writing') progress.at(Number(line['done']))
      if (options.json === true) await write(terminal.stdout, `${JSON.stringify(line)}\n`)
    }
  } catch (thrown) {
    const what = signal.aborted ? 'interrupted' : thrown instanceof Error ? thrown.message : String(thrown)
    throw new SignalboxError('BACKEND_CLOSED', `${what}; everything had arrived, so the instance goes on: its log tells the outcome, and the same import again does no harm`, { cause: thrown })
  }
  progress.end()
  return outcome(terminal, last, options)
}

async function outcome(terminal: Terminal, last: Line, { json }: ImportOptions): Promise<Status> {
  if (typeof last['result'] !== 'string') {
    const words = typeof last['error'] === 'string' ? plain(last['error']) : 'the answer has no end, nobody knows the outcome: do it again'
    await write(terminal.stderr, `signalbox: ${words}\n`)
    return 1
  }
  const count = (name: string): string => `${name} ${String(last[name])}`
  const words = `${last['result']}: ${['added', 'changed', 'removed', 'unchanged'].map(count).join(', ')}\n`
  if (json !== true) await write(terminal.stdout, words)
  await warnUnconfirmed(terminal, last)
  return 0
}

async function openFile(path: string): Promise<{ readonly stream: Readable; readonly size: number | undefined }> {
  try {
    const facts = await stat(path)
    if (facts.isDirectory()) throw new Error('it is a directory')
    const stream = createReadStream(path)
    await new Promise<void>((resolve, reject) => stream.once('ready', () => resolve()).once('error', reject))
    return { stream, size: facts.isFile() ? facts.size : undefined }
  } catch (cause) {
    throw new SignalboxError('CONFIG_INVALID', `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

async function* counted(stream: Readable, progress: Progress): AsyncGenerator<Buffer> {
  let sent = 0
  for await (const chunk of stream) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk))
    yield bytes
    progress.at((sent += bytes.length))
  }
}
