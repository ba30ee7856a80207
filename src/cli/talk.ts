/**
 * What all commands that talk to an instance have in common: finding it, saying what it refused, and the exit status that
 * follows from it: 0 done, 1 refused or failed, 2 wrong usage or configuration.
 */
import { SignalboxError } from '../errors.ts'
import { findAccess } from './access.ts'
import type { AccessOptions } from './access.ts'
import { Client } from './client.ts'
import type { Answered, Call } from './client.ts'
import { plain, write } from './terminal.ts'
import type { Terminal } from './terminal.ts'

export interface TalkOptions extends AccessOptions {
  /** The API's own JSON on standard output instead of text. */
  readonly json?: boolean
}

export type Status = 0 | 1 | 2

/** Says what went wrong and with which status the process should end. What is no error of ours goes on. */
export async function failed(terminal: Terminal, thrown: unknown): Promise<Status> {
  if (!(thrown instanceof SignalboxError)) throw thrown
  // Who closes the pipe has seen enough.
  const { cause } = thrown
  const seenEnough = thrown.code === 'CLIENT_CLOSED' && cause instanceof Error && 'code' in cause && cause.code === 'EPIPE'
  if (!seenEnough) await write(terminal.stderr, `signalbox: ${thrown.message}\n`)
  return thrown.code === 'CONFIG_INVALID' ? 2 : 1
}

/** Finds the instance and runs `work` with it. Failures become a sentence and a status. */
export async function talk(terminal: Terminal, options: TalkOptions, work: (client: Client) => Promise<Status>): Promise<Status> {
  // A pipe that is closed is noticed at the next write.
  const ignored = (): void => {}
  terminal.stdout.on('error', ignored)
  try {
    using client = new Client(await findAccess(options, terminal.env))
    return await work(client)
  } catch (thrown) {
    return await failed(terminal, thrown)
  } finally {
    terminal.stdout.off('error', ignored)
  }
}

/** One question; its answer goes through `show`, or out as it is with --json. */
export function askAndShow(
  terminal: Terminal,
  options: TalkOptions,
  call: Call,
  show: (json: Readonly<Record<string, unknown>>) => string,
): Promise<Status> {
  return talk(terminal, options, async (client) => {
    const answered = await client.ask(call)
    if (answered.status !== 200) return refused(terminal, options, answered)
    const json = answered.json ?? {}
    await write(terminal.stdout, options.json === true ? `${JSON.stringify(json)}\n` : show(json))
    await warnUnconfirmed(terminal, json)
    return 0
  })
}

/** Says what the API refused, with the lines that are to blame where it names some. */
export async function refused(terminal: Terminal, options: TalkOptions, { status, text, json }: Answered): Promise<1> {
  if (options.json === true && json !== undefined) await write(terminal.stdout, `${JSON.stringify(json)}\n`)
  const hint = status === 401 ? ' (the token is not the one that the instance was started with)' : ''
  await write(terminal.stderr, `signalbox: ${plain(text === '' ? `status ${status}` : text)}${hint}\n`)
  for (const mistake of objects(json?.['mistakes'])) {
    await write(terminal.stderr, `  line ${String(mistake['line'])}: ${plain(String(mistake['message']))}\n`)
  }
  const more = json?.['more']
  if (typeof more === 'number' && more > 0) await write(terminal.stderr, `  and ${more} more\n`)
  return 1
}

/** Peers that have not acknowledged a change that is in force here. */
export async function warnUnconfirmed(terminal: Terminal, json: Readonly<Record<string, unknown>>): Promise<void> {
  const missing = Array.isArray(json['unconfirmed']) ? json['unconfirmed'].map(String) : []
  if (missing.length > 0) await write(terminal.stderr, `signalbox: in force here, not confirmed by ${plain(missing.join(', '))}\n`)
  if (typeof json['warning'] === 'string') await write(terminal.stderr, `signalbox: ${plain(json['warning'])}\n`)
  if (json['bus'] === 'down') await write(terminal.stderr, 'signalbox: in force here; the bus is down, no peer could be asked\n')
}

/** The objects of a list; whatever else it holds, or is, is left out. */
export function objects(value: unknown): Readonly<Record<string, unknown>>[] {
  if (!Array.isArray(value)) return []
  return value.filter((one): one is Readonly<Record<string, unknown>> => typeof one === 'object' && one !== null && !Array.isArray(one))
}
