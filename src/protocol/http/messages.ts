/**
 * The heads that go on: a client's request to the backend, the backend's response to the client. Each leg has a framing
 * of its own, so lengths and codings are written anew, the host is the client's, and nothing that belongs to one
 * connection passes.
 */
import { each, endToEnd, members, valuesOf, withoutClaims, type Fields } from './fields.ts'
import { withForwarded } from './forwarded.ts'
import type { RequestHead } from './head.ts'

export interface RequestOptions {
  /** The client's address, if the destination is to be told of it. */
  readonly announce: { readonly address: string; readonly secure: boolean } | undefined
  /** What the client says about those before it is believed. */
  readonly trusted: boolean
  /** The Host for a client that sent none. */
  readonly defaultHost: string
  /** The client's Expect was answered here. */
  readonly continued: boolean
  readonly upgrade: boolean
}

const OURS = new Set(['host', 'content-length'])
const OURS_AND_EXPECT = new Set([...OURS, 'expect'])
const LENGTH = new Set(['content-length'])
/** Methods for which a request without a body needs no length (RFC 9110 §8.6). */
const BODILESS = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS'])

/** The fields of the request to the backend, in HTTP/1.1. */
export function requestFields(head: RequestHead, { announce, trusted, defaultHost, continued, upgrade }: RequestOptions): string[] {
  const passing = endToEnd(head.fields, continued ? OURS_AND_EXPECT : OURS)
  const believed = oneCookie(trusted ? passing : withoutClaims(passing))
  const fields = announce === undefined ? believed : withForwarded(believed, { ...announce, host: head.host })
  const framing = framingOf(head)
  const connection = upgrade ? ['Connection', 'Upgrade', 'Upgrade', 'websocket'] : head.takesTrailers ? ['Connection', 'keep-alive, TE', 'TE', 'trailers'] : []
  return ['Host', head.host ?? defaultHost, ...fields, ...framing, ...connection]
}

function framingOf({ method, body }: RequestHead): string[] {
  if (body.kind === 'chunked') return ['Transfer-Encoding', 'chunked']
  if (body.kind === 'length') return ['Content-Length', String(body.length)]
  return BODILESS.has(method) ? [] : ['Content-Length', '0']
}

/** HTTP/2 splits cookies, HTTP/1.1 must not (RFC 9113 §8.2.3). */
function oneCookie(fields: Fields): Fields {
  const cookies = valuesOf(fields, 'cookie')
  if (cookies.length < 2) return fields
  const others: string[] = []
  for (const { key, name, value } of each(fields)) if (key !== 'cookie') others.push(name, value)
  return [...others, 'Cookie', cookies.join('; ')]
}

/**
 * The fields of the response to the client; the length stays, which says how much of a body belongs to a HEAD, but not where
 * there may be none (RFC 9110 §8.6).
 */
export function responseFields(fields: Fields, status: number): string[] {
  return status === 204 || status < 200 ? endToEnd(fields, LENGTH) : endToEnd(fields)
}

/** Why an answer that the parser took is none that may be passed on; holds nothing of what the backend sent. */
export function faultOf(status: number, version: string, fields: Fields): string | undefined {
  if (version !== '1.0' && version !== '1.1') return 'the version of the answer is unknown'
  // RFC 9110 §15: a class of its own there is none; 101 is no answer to a request that asked for no other protocol.
  if (status < 200 || status > 599) return 'the status of the answer is none'
  const codings = members(fields, 'transfer-encoding')
  if (codings.length === 0) return undefined
  // RFC 9112 §6.1. What else it is coded in would reach the client without a word about it.
  return version === '1.1' && codings.length === 1 && codings[0] === 'chunked' ? undefined : 'the transfer coding of the answer is unknown'
}

/** Whether a backend's 101 is what a client has asked for that asked for a WebSocket. */
export function agreesToWebSocket(fields: Fields): boolean {
  const upgrade = members(fields, 'upgrade')
  return upgrade.length === 1 && upgrade[0] === 'websocket'
}

/** Whether a request asks for a WebSocket (RFC 6455 §4.1) and nothing else. */
export function asksForWebSocket({ version, method, fields, body }: Pick<RequestHead, 'version' | 'method' | 'fields' | 'body'>): boolean {
  const upgrade = members(fields, 'upgrade')
  return version === '1.1' && method === 'GET' && body.kind === 'none' && upgrade.length === 1 && upgrade[0] === 'websocket' && members(fields, 'connection').includes('upgrade')
}
