/**
 * What a small JMAP server knows and answers (RFC 8620 §3, RFC 8621 §2): Core/echo, Mailbox/get, Mailbox/set (create), with
 * request-level and method-level errors and back-references. Pure: how it is carried is jmap-server.ts's business.
 */

export const CORE = 'urn:ietf:params:jmap:core'
export const MAIL = 'urn:ietf:params:jmap:mail'
export const WEBSOCKET = 'urn:ietf:params:jmap:websocket'
const CAPABILITIES: readonly unknown[] = [CORE, MAIL, WEBSOCKET]

export interface JmapAccount {
  readonly id: string
  readonly name: string
  readonly mailboxes: Record<string, unknown>[]
  /** Counts changes: the state string of its mailboxes. */
  state: number
}

type Arguments = Readonly<Record<string, unknown>>
export type Invocation = readonly [name: string, args: Arguments, callId: string]

/** RFC 8620 §3.6.1: the whole request is refused. */
export interface Problem {
  readonly type: string
  readonly status: 400
  readonly detail: string
}

export interface JmapAnswer {
  readonly methodResponses: readonly Invocation[]
  readonly sessionState: string
}

export function newAccount(id: string, name: string, server: string): JmapAccount {
  return { id, name, mailboxes: [{ id: 'mb1', name: 'Inbox', role: 'inbox', sortOrder: 0, totalEmails: 1 }, { id: 'mb2', name: `You are on ${server}`, role: null, sortOrder: 1, totalEmails: 0 }], state: 1 }
}

/** Answers a request; `changed` hears of a state that is new. */
export function answerJmap(text: string, account: JmapAccount, changed: (account: JmapAccount) => void): JmapAnswer | Problem {
  let request: unknown
  try {
    request = JSON.parse(text)
  } catch {
    return problem('notJSON', 'the body is no JSON')
  }
  if (!isRecord(request) || !Array.isArray(request['using']) || !Array.isArray(request['methodCalls'])) return problem('notRequest', 'using and methodCalls are needed')
  const unknown = request['using'].find((capability) => !CAPABILITIES.includes(capability))
  if (unknown !== undefined) return problem('unknownCapability', String(unknown))
  const responses: Invocation[] = []
  for (const call of request['methodCalls'] as readonly unknown[]) {
    if (!Array.isArray(call) || typeof call[0] !== 'string' || !isRecord(call[1]) || typeof call[2] !== 'string') return problem('notRequest', 'a method call is malformed')
    const [name, args, callId] = [call[0], call[1], call[2]]
    const resolved = resolveReferences(args, responses)
    responses.push(resolved === undefined ? ['error', { type: 'invalidResultReference' }, callId] : invoke(name, resolved, callId, account, changed))
  }
  return { methodResponses: responses, sessionState: sessionState(account) }
}

export function sessionState(account: JmapAccount): string {
  return `session-${account.id}`
}

function invoke(name: string, args: Arguments, callId: string, account: JmapAccount, changed: (account: JmapAccount) => void): Invocation {
  if (name === 'Core/echo') return [name, args, callId]
  if (name !== 'Mailbox/get' && name !== 'Mailbox/set') return ['error', { type: 'unknownMethod' }, callId]
  if (args['accountId'] !== account.id) return ['error', { type: 'accountNotFound' }, callId]
  return [name, name === 'Mailbox/get' ? mailboxGet(args, account) : mailboxSet(args, account, changed), callId]
}

function mailboxGet({ ids, properties }: Arguments, account: JmapAccount): Arguments {
  const wanted = Array.isArray(ids) ? ids : account.mailboxes.map(({ id }) => id)
  const list = account.mailboxes.filter(({ id }) => wanted.includes(id))
  const only = (mailbox: Record<string, unknown>): Arguments => (Array.isArray(properties) ? Object.fromEntries(Object.entries(mailbox).filter(([key]) => key === 'id' || properties.includes(key))) : mailbox)
  return { accountId: account.id, state: String(account.state), list: list.map(only), notFound: wanted.filter((id) => !list.some((mailbox) => mailbox['id'] === id)) }
}

function mailboxSet({ create }: Arguments, account: JmapAccount, changed: (account: JmapAccount) => void): Arguments {
  const oldState = String(account.state)
  const created: Record<string, unknown> = {}
  for (const [key, mailbox] of Object.entries(isRecord(create) ? create : {})) {
    const id = `mb${account.mailboxes.length + 1}`
    account.mailboxes.push({ sortOrder: 0, role: null, totalEmails: 0, ...(isRecord(mailbox) ? mailbox : {}), id })
    created[key] = { id }
  }
  if (Object.keys(created).length > 0) {
    account.state++
    changed(account)
  }
  return { accountId: account.id, oldState, newState: String(account.state), created }
}

/** RFC 8620 §3.7, with `*` in paths. */
function resolveReferences(args: Arguments, before: readonly Invocation[]): Arguments | undefined {
  const resolved: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(args)) {
    if (!key.startsWith('#')) {
      resolved[key] = value
      continue
    }
    if (!isRecord(value)) return undefined
    const source = before.find(([name, , callId]) => callId === value['resultOf'] && name === value['name'])
    const found = source === undefined ? undefined : follow(source[1], String(value['path']).split('/').slice(1))
    if (found === undefined) return undefined
    resolved[key.slice(1)] = found
  }
  return resolved
}

function follow(value: unknown, [step, ...rest]: readonly string[]): unknown {
  if (step === undefined) return value
  if (step === '*') return Array.isArray(value) ? value.flatMap((item) => follow(item, rest)) : undefined
  return isRecord(value) || Array.isArray(value) ? follow(Reflect.get(value, step), rest) : undefined
}

function problem(type: string, detail: string): Problem {
  return { type: `urn:ietf:params:jmap:error:${type}`, status: 400, detail }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
