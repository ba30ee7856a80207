/** What is running: sessions, destinations, the fleet; looked at, and the acts of an operator on them. */
import { showList } from './show.ts'
import { askAndShow, objects } from './talk.ts'
import type { Status, TalkOptions } from './talk.ts'
import { plain } from './terminal.ts'
import type { Terminal } from './terminal.ts'

type Json = Readonly<Record<string, unknown>>

const result = (json: Json): string => `${plain(typeof json['result'] === 'string' ? json['result'] : 'ok')}\n`

export function kick(terminal: Terminal, identifier: string, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'POST', path: '/connections/kick', query: { identifier } }, result)
}

export interface SessionsOptions extends TalkOptions {
  readonly account?: string
  readonly destination?: string
  readonly limit?: number
}

const SESSION = ['account', 'protocol', 'destination', 'client', 'since', 'bytes_in', 'bytes_out', 'instance']

export function sessions(terminal: Terminal, options: SessionsOptions): Promise<Status> {
  const { account: identifier, destination, limit } = options
  return askAndShow(terminal, options, { method: 'GET', path: '/sessions', query: { identifier, destination, limit } }, (json) => {
    const shown = objects(json['sessions']).length
    const more = typeof json['total'] === 'number' && json['total'] > shown ? `\n${shown} of ${json['total']}; --limit shows more\n` : ''
    return `${showList(json['sessions'], SESSION)}${more}${unanswered(json)}`
  })
}

export function sessionsSummary(terminal: Terminal, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'GET', path: '/sessions/summary' }, (json) => {
    return `${showList(json['counts'])}${typeof json['total'] === 'number' ? `\n${json['total']} in all\n` : ''}${unanswered(json)}`
  })
}

/** Peers whose sessions are missing here. */
function unanswered(json: Json): string {
  const missing = Array.isArray(json['unanswered']) ? json['unanswered'].filter((name) => typeof name === 'string') : []
  return missing.length === 0 ? '' : `\nwithout ${plain(missing.join(', '))}, which did not answer\n`
}

export function sessionsDrain(terminal: Terminal, destination: string, options: TalkOptions & { readonly over?: string }): Promise<Status> {
  return askAndShow(terminal, options, { method: 'DELETE', path: '/sessions', query: { destination, over: options.over } }, result)
}

export function destinations(terminal: Terminal, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'GET', path: '/destinations' }, (json) => showList(json['destinations']))
}

export function destinationReset(terminal: Terminal, destination: string, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'POST', path: '/destinations/reset', query: { destination } }, result)
}

export function destinationState(terminal: Terminal, destination: string, state: string, options: TalkOptions & { readonly over?: string }): Promise<Status> {
  const query = { destination, state, over: options.over }
  return askAndShow(terminal, options, { method: 'PUT', path: '/destinations/state', query }, result)
}

export function fleet(terminal: Terminal, options: TalkOptions): Promise<Status> {
  const columns = ['instance', 'state', 'version', 'workers', 'digest_agrees', 'last_heard_s', 'lag', 'gaps', 'started']
  return askAndShow(terminal, options, { method: 'GET', path: '/fleet' }, (json) => {
    return `bus  ${plain(String(json['bus']))}\n\n${showList(json['instances'], columns)}`
  })
}

export function fleetForget(terminal: Terminal, instance: string, options: TalkOptions): Promise<Status> {
  return askAndShow(terminal, options, { method: 'DELETE', path: `/fleet/${encodeURIComponent(instance)}` }, result)
}
