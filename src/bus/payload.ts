/**
 * What the frames of the bus carry, and the check that what arrived is that. Parsed here, trusted behind: a payload that
 * does not fit is a FRAME_INVALID, and makes the receiver's routes doubtful.
 */
import { SignalboxError } from '../errors.ts'
import { BUS_TEXT, DRAIN_SECONDS, HOLD_MS, IDENTIFIER, IDENTIFIERS_PER_FRAME, SESSIONS_LISTED } from '../limits.ts'
import type { BusKind } from './frame.ts'

/** Who an instance is: in hello, welcome and heartbeat. */
export interface InstanceFacts {
  readonly digest: string
  readonly version: string
  readonly workers: number
}

export interface ActiveHold {
  readonly identifier: string
  readonly id: string
  /** Milliseconds that are left. */
  readonly ms: number
}

/** What an operator made of a destination by hand. */
export type OperatorState = 'up' | 'drain' | 'down'

/** The same as instances tell it each other. */
export interface GivenState {
  readonly destination: string
  readonly state: OperatorState
  /** Wall-clock milliseconds at the instance where it was given; never less than that of the state before. */
  readonly at: number
}

/** Which bridged sessions are asked for; with `limit` 0 they are only counted. */
export interface SessionsQuery {
  readonly identifier?: string | undefined
  readonly destination?: string | undefined
  readonly limit: number
}

/** The bridged sessions of one instance: all of them counted, some of them named. */
export interface InstanceSessions {
  readonly groups: readonly {
    readonly protocol: string
    readonly destination: string
    readonly sessions: number
    readonly bytesIn: number
    readonly bytesOut: number
  }[]
  readonly sessions: readonly {
    /** As it may be shown; empty where there is none. */
    readonly account: string
    readonly protocol: string
    readonly destination: string
    readonly client: string
    /** Wall-clock milliseconds. */
    readonly since: number
    readonly bytesIn: number
    readonly bytesOut: number
    readonly worker: number
  }[]
}

export interface Hello {
  readonly kind: 'hello'
  /** Chosen at random: a welcome that repeats it was sent after this hello, and is no replay. */
  readonly question: number
  readonly facts: InstanceFacts
  readonly destinations: readonly string[]
  /** Absent: none was ever given. */
  readonly states?: readonly GivenState[]
}

/** The answer to a hello: who I am, and the holds in force. */
export interface Welcome {
  readonly kind: 'welcome'
  readonly question: number
  readonly facts: InstanceFacts
  readonly destinations: readonly string[]
  readonly states?: readonly GivenState[]
  readonly holds: readonly ActiveHold[]
  /** The last of mine that went to all, to follow from. */
  readonly sequence: number
}

export type BusPayload =
  /** I am here; tell me who you are and what is in force. `question` comes back in the answer. */
  | Hello
  | Welcome
  | { readonly kind: 'heartbeat'; readonly facts: InstanceFacts }
  | { readonly kind: 'bye' }
  /** `reread`: the file is shared and has changed; read it again first. */
  | { readonly kind: 'invalidate'; readonly identifiers: readonly string[]; readonly reread: boolean }
  | { readonly kind: 'invalidate-all'; readonly reread: boolean }
  /** `except`: the name of a destination; see Kick in session/sessions.ts. An instance that doesn't know it ends all. */
  | { readonly kind: 'kick'; readonly identifier: string; readonly except?: string }
  | { readonly kind: 'hold'; readonly identifier: string; readonly id: string; readonly ms: number }
  | { readonly kind: 'release'; readonly identifier: string; readonly id: string }
  /** `over`: milliseconds over which `drain` ends the sessions that are there. */
  | ({ readonly kind: 'state'; readonly over: number } & GivenState)
  | { readonly kind: 'drain'; readonly destination: string; readonly over: number }
  /** To one instance: its statistics, or its sessions. */
  | { readonly kind: 'query'; readonly question: number; readonly what: 'stats' }
  | ({ readonly kind: 'query'; readonly question: number; readonly what: 'sessions' } & SessionsQuery)
  | { readonly kind: 'answer'; readonly question: number; readonly stats: Readonly<Record<string, number | string>> }
  | { readonly kind: 'answer'; readonly question: number; readonly list: InstanceSessions }
  /** To the sender of a change: every worker here has obeyed. `count`: sessions ended by a kick, or being ended by a drain. */
  | { readonly kind: 'acknowledge'; readonly epoch: number; readonly sequence: number; readonly count: number }

type Fields = Readonly<Record<string, unknown>>

/** An account with each of its characters made visible. */
const SHOWN_ACCOUNT = IDENTIFIER * 6

/** Checks a decoded payload. Throws FRAME_INVALID naming kind and field. */
export function readPayload(kind: BusKind, payload: unknown): BusPayload {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) throw invalid(kind, 'payload')
  const fields: Fields = { ...payload }
  switch (kind) {
    case 'hello':
      return {
        kind,
        question: whole(kind, fields, 'question'),
        facts: factsOf(kind, fields),
        destinations: texts(kind, fields, 'destinations'),
        ...statesOf(kind, fields),
      }
    case 'welcome':
      return {
        kind,
        question: whole(kind, fields, 'question'),
        facts: factsOf(kind, fields),
        destinations: texts(kind, fields, 'destinations'),
        ...statesOf(kind, fields),
        holds: list(kind, fields, 'holds').map((hold) => holdOf(kind, hold)),
        sequence: whole(kind, fields, 'sequence'),
      }
    case 'heartbeat':
      return { kind, facts: factsOf(kind, fields) }
    case 'bye':
      return { kind }
    case 'invalidate':
      return { kind, identifiers: identifiers(kind, fields), reread: fields['reread'] === true }
    case 'invalidate-all':
      return { kind, reread: fields['reread'] === true }
    case 'kick':
      return {
        kind,
        identifier: identifier(kind, fields['identifier']),
        ...(fields['except'] === undefined ? {} : { except: text(kind, fields, 'except') }),
      }
    case 'hold':
      return { kind, ...holdOf(kind, fields) }
    case 'release':
      return { kind, identifier: identifier(kind, fields['identifier']), id: text(kind, fields, 'id') }
    case 'state':
      return { kind, ...givenState(kind, fields), over: drainTime(kind, fields) }
    case 'drain':
      return { kind, destination: text(kind, fields, 'destination'), over: drainTime(kind, fields) }
    case 'query':
      if (fields['what'] === 'sessions') {
        return { kind, question: whole(kind, fields, 'question'), what: 'sessions', ...sessionsQuery(kind, fields) }
      }
      if (fields['what'] !== 'stats') throw invalid(kind, 'what')
      return { kind, question: whole(kind, fields, 'question'), what: 'stats' }
    case 'answer':
      if (fields['list'] !== undefined) return { kind, question: whole(kind, fields, 'question'), list: sessionsOf(kind, fields['list']) }
      return { kind, question: whole(kind, fields, 'question'), stats: statsOf(kind, fields['stats']) }
    case 'acknowledge':
      return { kind, epoch: whole(kind, fields, 'epoch'), sequence: whole(kind, fields, 'sequence'), count: whole(kind, fields, 'count') }
  }
}

function factsOf(kind: BusKind, fields: Fields): InstanceFacts {
  const facts = fields['facts']
  if (typeof facts !== 'object' || facts === null) throw invalid(kind, 'facts')
  const inner: Fields = { ...facts }
  return { digest: text(kind, inner, 'digest'), version: text(kind, inner, 'version'), workers: whole(kind, inner, 'workers') }
}

function statesOf(kind: BusKind, fields: Fields): { readonly states?: readonly GivenState[] } {
  return fields['states'] === undefined ? {} : { states: list(kind, fields, 'states').map((state) => givenState(kind, inner(kind, state, 'states'))) }
}

function givenState(kind: BusKind, fields: Fields): GivenState {
  const { state } = fields
  if (state !== 'up' && state !== 'drain' && state !== 'down') throw invalid(kind, 'state')
  return { destination: text(kind, fields, 'destination'), state, at: whole(kind, fields, 'at') }
}

function drainTime(kind: BusKind, fields: Fields): number {
  const over = whole(kind, fields, 'over')
  if (over > DRAIN_SECONDS * 1000) throw invalid(kind, 'over')
  return over
}

function sessionsQuery(kind: BusKind, fields: Fields): SessionsQuery {
  const limit = whole(kind, fields, 'limit')
  if (limit > SESSIONS_LISTED) throw invalid(kind, 'limit')
  return {
    ...(fields['identifier'] === undefined ? {} : { identifier: identifier(kind, fields['identifier']) }),
    ...(fields['destination'] === undefined ? {} : { destination: text(kind, fields, 'destination') }),
    limit,
  }
}

function sessionsOf(kind: BusKind, value: unknown): InstanceSessions {
  const fields = inner(kind, value, 'list')
  const common = (one: Fields) => ({
    protocol: text(kind, one, 'protocol'),
    destination: text(kind, one, 'destination'),
    bytesIn: whole(kind, one, 'bytesIn'),
    bytesOut: whole(kind, one, 'bytesOut'),
  })
  return {
    groups: list(kind, fields, 'groups').map((value) => {
      const group = inner(kind, value, 'groups')
      return { ...common(group), sessions: whole(kind, group, 'sessions') }
    }),
    sessions: list(kind, fields, 'sessions').map((value) => {
      const session = inner(kind, value, 'sessions')
      const { account } = session
      if (typeof account !== 'string' || account.length > SHOWN_ACCOUNT) throw invalid(kind, 'account')
      return {
        ...common(session),
        account,
        client: text(kind, session, 'client'),
        since: whole(kind, session, 'since'),
        worker: whole(kind, session, 'worker'),
      }
    }),
  }
}

function inner(kind: BusKind, value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null) throw invalid(kind, name)
  return { ...value }
}

function holdOf(kind: BusKind, hold: unknown): ActiveHold {
  if (typeof hold !== 'object' || hold === null) throw invalid(kind, 'holds')
  const fields: Fields = { ...hold }
  const ms = whole(kind, fields, 'ms')
  if (ms > HOLD_MS) throw invalid(kind, 'ms')
  return { identifier: identifier(kind, fields['identifier']), id: text(kind, fields, 'id'), ms }
}

/** What isn't a number or a short text, or is beyond the count of what an instance tells, is left out. */
function statsOf(kind: BusKind, stats: unknown): Record<string, number | string> {
  if (typeof stats !== 'object' || stats === null) throw invalid(kind, 'stats')
  const known: [string, number | string][] = []
  for (const [name, value] of Object.entries(stats).slice(0, BUS_TEXT)) {
    if (name.length > BUS_TEXT) continue
    if (typeof value === 'number' || (typeof value === 'string' && value.length <= BUS_TEXT)) known.push([name, value])
  }
  // Never by assignment: "__proto__" is a name like any other.
  return Object.fromEntries(known)
}

/** Bounded as everywhere; whether it is one that a mapping could hold is nothing that a cache need know. */
function identifier(kind: BusKind, value: unknown): string {
  if (typeof value !== 'string' || value === '' || value.length > IDENTIFIER) throw invalid(kind, 'identifier')
  if (value.length * 3 > IDENTIFIER && Buffer.byteLength(value) > IDENTIFIER) throw invalid(kind, 'identifier')
  return value
}

function identifiers(kind: BusKind, fields: Fields): readonly string[] {
  return list(kind, fields, 'identifiers').map((value) => identifier(kind, value))
}

function text(kind: BusKind, fields: Fields, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string' || value.length > BUS_TEXT) throw invalid(kind, name)
  return value
}

/** A whole number that isn't negative. */
function whole(kind: BusKind, fields: Fields, name: string): number {
  const value = fields[name]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw invalid(kind, name)
  return value
}

function list(kind: BusKind, fields: Fields, name: string): readonly unknown[] {
  const value = fields[name]
  if (!Array.isArray(value) || value.length > IDENTIFIERS_PER_FRAME) throw invalid(kind, name)
  return value
}

function texts(kind: BusKind, fields: Fields, name: string): readonly string[] {
  const values = list(kind, fields, name)
  return values.map((value) => {
    if (typeof value !== 'string' || value.length > BUS_TEXT) throw invalid(kind, name)
    return value
  })
}

function invalid(kind: BusKind, field: string): SignalboxError {
  return new SignalboxError('FRAME_INVALID', `a bus frame of kind ${kind} has a bad ${field}`)
}
