/**
 * How an error stands in the log: code, side, message and its chain of causes, and nothing else that may hang on the
 * object. Errors of libraries carry commands, configurations and URLs; those are where credentials leak, so fields are
 * chosen, never copied. Frames of the stack are only given for what is our own mistake (INTERNAL, or no SignalboxError),
 * and there of the error that was thrown first: an INTERNAL that wraps it only says where it was caught. What the system
 * or a library reports with a code of its own (ECONNREFUSED) as the cause of a failure is no mistake of ours.
 */
import { SignalboxError } from '../errors.ts'
import { printable, redactUrls } from './redaction.ts'

export interface ErrorFields {
  /** Code of SignalboxError, or of Node's and libraries' errors (ECONNREFUSED); absent when there is none. */
  readonly code?: string
  readonly side?: string
  /** Class name, for errors that aren't ours. */
  readonly type?: string
  readonly message: string
  /** Frames, without the message; only for our own mistakes, once. */
  readonly stack?: readonly string[]
  readonly cause?: ErrorFields
}

const MESSAGE_LENGTH = 500
const CAUSES = 5
const FRAMES = 8

/** Chooses what may be logged of anything that was thrown. Never throws itself. */
export function errorFields(thrown: unknown): ErrorFields {
  return fieldsOf(thrown, CAUSES, true)
}

function fieldsOf(thrown: unknown, depth: number, wantStack: boolean): ErrorFields {
  if (!(thrown instanceof Error)) return { type: typeof thrown, message: sentence(describe(thrown)) }
  const own = thrown instanceof SignalboxError
  const code: unknown = 'code' in thrown ? thrown.code : undefined
  // A cause that is a plain object holds facts for code (the lines of a mapping file); the message has told them.
  const cause = typeof thrown.cause === 'object' && !(thrown.cause instanceof Error) ? undefined : thrown.cause
  const wraps = own && cause instanceof Error
  const outermost = depth === CAUSES
  const ours = own ? thrown.code === 'INTERNAL' : outermost || typeof code !== 'string'
  const showStack = wantStack && ours && !wraps
  return {
    ...(typeof code === 'string' || typeof code === 'number' ? { code: sentence(String(code)) } : {}),
    ...(own ? { side: thrown.side } : { type: sentence(thrown.name) }),
    message: sentence(thrown.message),
    ...(showStack ? { stack: frames(thrown) } : {}),
    ...(cause !== undefined && depth > 0 ? { cause: fieldsOf(cause, depth - 1, wantStack && !showStack) } : {}),
  }
}

/** Objects that were thrown without being errors are named by their type alone: their content may be anything. */
function describe(thrown: unknown): string {
  return typeof thrown === 'string' || typeof thrown === 'number' ? String(thrown) : `a thrown ${typeof thrown}`
}

function sentence(text: string): string {
  // Cut before redacting too, so that a giant message costs nothing; a URL cut there has lost its end, not its password's mask.
  return printable(redactUrls(text.slice(0, 2 * MESSAGE_LENGTH))).slice(0, MESSAGE_LENGTH)
}

function frames(error: Error): readonly string[] {
  const lines = typeof error.stack === 'string' ? error.stack.split('\n') : []
  return lines
    .filter((line) => /^\s+at /.test(line))
    .slice(0, FRAMES)
    .map((line) => printable(line.trim().slice(3, 200)))
}
