/**
 * What the frames of the bus carry, and the check that what arrived is that. Parsed here, trusted behind: a payload that
 * does not fit is a FRAME_INVALID, and makes the receiver's routes doubtful.
 */
import { SignalboxError } from '../errors.ts'
import { BUS_TEXT, HOLD_MS, IDENTIFIER, IDENTIFIERS_PER_FRAME } from '../limits.ts'
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

export interface Hello {
  readonly kind: 'hello'
  /** Chosen at random: a welcome that repeats it was sent after this hello, and is no replay. */
  readonly question: number
  readonly facts: InstanceFacts
  readonly destinations: readonly string[]
}

/** The answer to a hello: who I am, and the holds in force. */
export interface Welcome {
  readonly kind: 'welcome'
  readonly question: number
  readonly facts: InstanceFacts
  readonly destinations: readonly string[]
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
  /** To one instance: its statistics. */
  | { readonly kind: 'query'; readonly question: number; readonly what: 'stats' }
  | { readonly kind: 'answer'; readonly question: number; readonly stats: Readonly<Record<string, number | string>> }
  /** To the sender of a change: every worker here has obeyed. `count`: sessions ended by a kick. */
  | { readonly kind: 'acknowledge'; readonly epoch: number; readonly sequence: number; readonly count: number }

type Fields = Readonly<Record<string, unknown>>

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
      }
    case 'welcome':
      return {
        kind,
        question: whole(kind, fields, 'question'),
        facts: factsOf(kind, fields),
        destinations: texts(kind, fields, 'destinations'),
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
    case 'query':
      if (fields['what'] !== 'stats') throw invalid(kind, 'what')
      return { kind, question: whole(kind, fields, 'question'), what: 'stats' }
    case 'answer':
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
