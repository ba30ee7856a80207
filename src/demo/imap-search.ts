/** SEARCH of the demo's mail servers: flags, sets and NOT; not dates, sizes or texts (RFC 9051 §6.4.4). */
import { holds, itemsOf, parseSet, SyntaxProblem, textOf } from './imap-wire.ts'
import type { Argument } from './imap-wire.ts'
import type { Message } from './mailbox.ts'

const FLAG_KEYS = new Map([
  ['SEEN', '\\Seen'], ['ANSWERED', '\\Answered'], ['FLAGGED', '\\Flagged'], ['DELETED', '\\Deleted'], ['DRAFT', '\\Draft'],
])

type Test = (message: Message, number: number) => boolean

/** Pairs of sequence number and message. @throws SyntaxProblem for keys that this server doesn't know */
export function searchMessages(messages: readonly Message[], keys: readonly Argument[], tag: string): (readonly [number, Message])[] {
  const queue = [...keys]
  if (textOf(queue[0])?.toUpperCase() === 'CHARSET') queue.splice(0, 2)
  const tests = readAll(queue, messages, tag)
  return messages
    .map((message, index) => [index + 1, message] as const)
    .filter(([number, message]) => tests.every((test) => test(message, number)))
}

function readAll(queue: Argument[], messages: readonly Message[], tag: string): Test[] {
  if (queue.length === 0) throw new SyntaxProblem('Expected search keys', tag)
  const tests: Test[] = []
  while (queue.length > 0) tests.push(readKey(queue, messages, tag))
  return tests
}

function readKey(queue: Argument[], messages: readonly Message[], tag: string): Test {
  const argument = queue.shift()
  if (argument?.kind === 'list') {
    const tests = readAll([...itemsOf(argument)], messages, tag)
    return (message, number) => tests.every((test) => test(message, number))
  }
  const key = textOf(argument)?.toUpperCase() ?? ''
  if (key === 'ALL' || key === 'OLD') return () => true
  if (key === 'RECENT' || key === 'NEW') return () => false
  if (key === 'NOT') {
    const test = readKey(queue, messages, tag)
    return (message, number) => !test(message, number)
  }
  const flag = FLAG_KEYS.get(key)
  if (flag !== undefined) return (message) => message.flags.has(flag)
  const absent = key.startsWith('UN') ? FLAG_KEYS.get(key.slice(2)) : undefined
  if (absent !== undefined) return (message) => !message.flags.has(absent)
  const byUid = key === 'UID'
  const last = byUid ? (messages.at(-1)?.uid ?? 0) : messages.length
  const set = parseSet(byUid ? (textOf(queue.shift()) ?? '') : key, last)
  if (set === undefined) throw new SyntaxProblem(`Unknown search key ${key}`, tag)
  return (message, number) => holds(set, byUid ? message.uid : number)
}
