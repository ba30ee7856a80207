/** `signalbox mapping …`: single mappings, pages, counts and the export. The import has a file of its own. */
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { SignalboxError } from '../errors.ts'
import { showList } from './show.ts'
import { askAndShow, objects, refused, talk } from './talk.ts'
import type { Status, TalkOptions } from './talk.ts'
import { interruptible, plain, write } from './terminal.ts'
import type { Terminal } from './terminal.ts'

export interface FilterOptions extends TalkOptions {
  readonly destination?: string
  readonly prefix?: string
}

const field = (json: Readonly<Record<string, unknown>>, name: string): string => plain(String(json[name]))

export function mappingGet(terminal: Terminal, identifier: string, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'GET', path: '/mappings', query: { identifier } }, (json) => {
    const how = json['routed_to_default'] === true ? 'no mapping, the default' : 'mapped'
    const doubt = json['source'] === 'stale' ? ', last known: the source cannot be asked' : ''
    return `${field(json, 'normalized')}\t${field(json, 'destination')}\t${how}${doubt}\n`
  })
}

export function mappingPut(terminal: Terminal, identifier: string, destination: string, options: TalkOptions): Promise<Status> {
  const call = { method: 'PUT', path: '/mappings', query: { identifier, destination } } as const
  return askAndShow(terminal, options, call, (json) => `${field(json, 'identifier')}\t${field(json, 'destination')}\n`)
}

export function mappingDelete(terminal: Terminal, identifier: string, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'DELETE', path: '/mappings', query: { identifier } }, (json) => `${field(json, 'result')}\n`)
}

export function mappingReload(terminal: Terminal, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'POST', path: '/mappings/reload' }, (json) => {
    const warnings = Array.isArray(json['warnings']) ? json['warnings'].map((warning) => `warning: ${plain(String(warning))}\n`) : []
    return `${warnings.join('')}added ${field(json, 'added')}, changed ${field(json, 'changed')}, removed ${field(json, 'removed')}\n`
  })
}

export function mappingSummary(terminal: Terminal, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'GET', path: '/mappings/summary' }, (json) => showList(json['destinations']))
}

/** Most that one question may ask for. */
const PAGE = 1_000

export function mappingList(terminal: Terminal, { limit, ...options }: FilterOptions & { readonly limit: number }): Promise<Status> {
  const { destination, prefix } = options
  return talk(terminal, options, async (client) => {
    let left = limit
    let cursor: unknown = undefined
    while (left > 0) {
      const query = { destination, prefix, limit: Math.min(left, PAGE), ...(typeof cursor === 'string' ? { cursor } : {}) }
      const answered = await client.ask({ method: 'GET', path: '/mappings/list', query })
      if (answered.status !== 200) return refused(terminal, options, answered)
      const page = objects(answered.json?.['mappings'])
      for (const mapping of page) {
        const text = options.json === true ? JSON.stringify(mapping) : `${field(mapping, 'identifier')}\t${field(mapping, 'destination')}`
        await write(terminal.stdout, `${text}\n`)
      }
      left -= page.length
      cursor = answered.json?.['cursor']
      if (typeof cursor !== 'string') return 0
    }
    await write(terminal.stderr, `signalbox: there are more than ${limit}; --limit shows more of them, "signalbox mapping export" all\n`)
    return 0
  })
}

/** To standard output, or to a file that is there only once it is whole. */
export function mappingExport(terminal: Terminal, options: FilterOptions & { readonly output?: string }): Promise<Status> {
  const { destination, prefix, output } = options
  return talk(terminal, options, (client) =>
    interruptible(async (signal) => {
      const answer = await client.stream({ method: 'GET', path: '/mappings/export', query: { destination, prefix }, signal })
      if (!answer.ok) return refused(terminal, options, answer.refused)
      const partial = output === undefined ? undefined : `${output}.partial`
      try {
        if (partial === undefined) await pipeline(answer.stream, terminal.stdout, { end: false })
        else await pipeline(answer.stream, createWriteStream(partial, { mode: 0o600 }))
      } catch (cause) {
        if (partial !== undefined) await rm(partial, { force: true })
        const words = signal.aborted ? 'interrupted' : `broke off: ${cause instanceof Error ? cause.message : String(cause)}`
        throw new SignalboxError('BACKEND_CLOSED', `the export is not whole: ${words}`, { cause })
      }
      if (partial !== undefined && output !== undefined) await rename(partial, output)
      return 0
    }),
  )
}
