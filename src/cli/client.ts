/**
 * The management API as the command line's commands call it: node:https over one kept connection, bodies and answers as
 * streams. The token goes out only after the certificate was found good. What the API refuses is an answer, not an error;
 * errors (BACKEND_CONNECT, BACKEND_CERTIFICATE, BACKEND_CLOSED) mean that there was none, and say so for people.
 */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { checkServerIdentity, getCACertificates } from 'node:tls'
import { SignalboxError } from '../errors.ts'
import type { Access } from './access.ts'

export type Query = Readonly<Record<string, string | number | boolean | undefined>>

export interface Call {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly path: string
  /** Undefined values are left out. */
  readonly query?: Query
  readonly body?: Readable | string
  readonly accept?: string
  readonly signal?: AbortSignal
}

export interface Answered {
  readonly status: number
  /** What the API says about a refusal, or the text itself. */
  readonly text: string
  /** Undefined: the answer was no JSON object. */
  readonly json: Readonly<Record<string, unknown>> | undefined
}

/** One line of a streamed answer. */
export type Line = Readonly<Record<string, unknown>>

/** Largest answer that is read as a whole, in bytes. */
const LARGEST = 64 * 1024 * 1024
/** Longest line of a streamed answer, in characters. */
const LONGEST = 4 * 1024 * 1024

export class Client implements Disposable {
  readonly #access: Access
  readonly #agent: Agent

  constructor(access: Access) {
    this.#access = access
    const { authorities, pinned, insecure } = access
    const pin = pinned === undefined ? undefined : new X509Certificate(pinned)
    this.#agent = new Agent({
      keepAlive: true,
      ca: [...getCACertificates('default'), ...authorities, ...(pinned === undefined ? [] : [pinned])],
      // The certificate of the configuration counts without those who signed it.
      allowPartialTrustChain: pin !== undefined,
      rejectUnauthorized: !insecure,
      minVersion: 'TLSv1.2',
      checkServerIdentity: (host, certificate) => {
        if (insecure || (pin !== undefined && pin.raw.equals(certificate.raw))) return undefined
        return checkServerIdentity(host, certificate)
      },
    })
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  /** The whole answer, as JSON where the API has it. */
  async ask(call: Call): Promise<Answered> {
    return readWhole(await this.#send(call))
  }

  /** A streamed answer as it comes; a refusal instead of one. The stream fails when the answer breaks off. */
  async stream(call: Call): Promise<{ readonly ok: true; readonly stream: IncomingMessage } | { readonly ok: false; readonly refused: Answered }> {
    const response = await this.#send(call)
    if (response.statusCode === 200) return { ok: true, stream: response }
    return { ok: false, refused: await readWhole(response) }
  }

  async #send({ method, path, query = {}, body, accept = 'application/json', signal }: Call): Promise<IncomingMessage> {
    const { url, token } = this.#access
    const pairs = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(String(value))}`]))
    const request = httpsRequest({
      protocol: 'https:',
      hostname: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? 443 : Number(url.port),
      method,
      path: pairs.length === 0 ? path : `${path}?${pairs.join('&')}`,
      agent: this.#agent,
      headers: { authorization: `Bearer ${token}`, accept, ...(typeof body === 'string' ? { 'content-length': Buffer.byteLength(body) } : {}) },
      ...(signal === undefined ? {} : { signal }),
    })
    const answered = once(request, 'response')
    // Whichever of the two fails, the answer decides: a refusal comes while the body is still on its way.
    const sent = typeof body === 'object' ? pipeline(body, request) : undefined
    sent?.catch(() => undefined)
    if (sent === undefined) request.end(body)
    try {
      const [response]: IncomingMessage[] = await answered
      // The connection ends with a refusal, and that is no news.
      request.on('error', () => {})
      if (response === undefined) throw new Error('there was no answer')
      return response
    } catch (cause) {
      // A body that could not be read is what went wrong, not the connection that was given up for it.
      if (typeof body === 'object' && body.errored !== null && !signal?.aborted) throw body.errored
      throw this.#noAnswer(cause, signal)
    }
  }

  #noAnswer(cause: unknown, signal: AbortSignal | undefined): SignalboxError {
    const { origin } = this.#access.url
    if (signal?.aborted === true) return new SignalboxError('CLIENT_CLOSED', 'interrupted', { cause })
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    const words = cause instanceof Error && cause.message !== '' ? cause.message : code
    if (code === 'DEPTH_ZERO_SELF_SIGNED_CERT' || /CERT|UNABLE_TO_|SELF_SIGNED/.test(code)) {
      const how = '--ca names whom to trust, --insecure trusts anybody; an instance without [tls.certificate] makes itself a new one at each start'
      return new SignalboxError('BACKEND_CERTIFICATE', `the certificate at ${origin} is not trusted (${words}); ${how}`, { cause })
    }
    if (code === 'ECONNRESET') return new SignalboxError('BACKEND_CLOSED', `${origin} closed the connection before it answered`, { cause })
    return new SignalboxError('BACKEND_CONNECT', `nobody answers at ${origin} (${words}): is the instance running?`, { cause })
  }
}

async function readWhole(response: IncomingMessage): Promise<Answered> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of response) {
      if (!Buffer.isBuffer(chunk)) continue
      size += chunk.length
      if (size > LARGEST) throw new Error(`it is larger than ${LARGEST} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    throw new SignalboxError('BACKEND_CLOSED', `the answer broke off: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  const text = Buffer.concat(chunks).toString('utf8')
  const json = parseObject(text)
  return { status: response.statusCode ?? 0, text: typeof json?.['error'] === 'string' ? json['error'] : text.trimEnd(), json }
}

/** The lines of a streamed answer. Throws BACKEND_CLOSED when it breaks off, BACKEND_PROTOCOL when a line is no JSON object. */
export async function* linesOf(stream: Readable): AsyncGenerator<Line, void, undefined> {
  let rest = ''
  stream.setEncoding('utf8')
  try {
    for await (const chunk of stream) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > LONGEST) throw new SignalboxError('BACKEND_PROTOCOL', 'a line of the answer has no end')
      for (const line of lines) if (line !== '') yield parsed(line)
    }
  } catch (cause) {
    if (cause instanceof SignalboxError) throw cause
    throw new SignalboxError('BACKEND_CLOSED', 'the connection was lost in the middle of the answer', { cause })
  }
  if (rest !== '') yield parsed(rest)
}

function parsed(line: string): Line {
  const value = parseObject(line)
  if (value === undefined) throw new SignalboxError('BACKEND_PROTOCOL', `a line of the answer is no JSON object: ${JSON.stringify(line.slice(0, 80))}`)
  return value
}

function parseObject(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}
