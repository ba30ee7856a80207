/**
 * Many requests of two accounts on one connection, each to the server of its own account: kept alive, pipelined, side by side.
 * Bodies, bodiless answers and delays are mixed in, so that a request or an answer that came out of step would be seen.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect as http2Connect } from 'node:http2'
import type { IncomingHttpHeaders } from 'node:http2'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { HttpBackend } from '../support/http-backend.ts'
import type { Answering } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

const REQUESTS = 1_000
/** Requests that are sent without waiting for answers, as many as the proxy lets wait (and the one under way). */
const PIPELINED = 16
const SERVERS = { ann: 'new', bob: 'old' } as const

/** The n-th request: whose, how, with what. */
function nth(n: number) {
  const name = n % 2 === 0 ? 'ann' : 'bob'
  const method = (['GET', 'POST', 'HEAD', 'PUT', 'GET'] as const)[n % 5] ?? 'GET'
  const body = method === 'POST' || method === 'PUT' ? Buffer.alloc((n * 7919) % 5_000, String(n)) : undefined
  const path = n % 7 === 3 ? `/nothing/${n}` : `/x/${n}`
  return { name, method, body, path, authorization: `Basic ${Buffer.from(`${name}@example.com:secret`).toString('base64')}` } as const
}

/** What its answer says: the server, and all of the request. */
function expected(n: number): string {
  const { name, method, body, path } = nth(n)
  return [SERVERS[name], name, method, path, sha1(body ?? Buffer.alloc(0))].join(' ')
}

const sha1 = (bytes: Buffer): string => createHash('sha1').update(bytes).digest('hex')

const answering =
  (server: string): Answering =>
  (request, response, body) => {
    const account = Buffer.from(request.headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString().split('@')[0] ?? ''
    const what = [server, account, request.method, request.url, sha1(body)].join(' ')
    response.setHeader('X-What', what)
    const nothing = request.url?.startsWith('/nothing') === true
    const say = (): void => void (nothing ? response.writeHead(204).end() : response.end(what))
    // Some take longer than those behind them.
    if (body.length % 3 === 1) systemClock.after(5, say, { keepAlive: true })
    else say()
  }

describe('two accounts on one connection', () => {
  let oldServer: HttpBackend
  let newServer: HttpBackend
  let rig: HttpRig

  before(async () => {
    oldServer = await HttpBackend.start('old', { answering: answering('old') })
    newServer = await HttpBackend.start('new', { answering: answering('new') })
    rig = await startHttpRig({
      destinations: { old: { port: oldServer.port }, new: { port: newServer.port } },
      accounts: ['ann@example.com'],
      routes: [{ match: '/**', extract: { from: 'authorization' } }],
      http: { max_keepalive_requests: 2 * REQUESTS },
    })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    await (oldServer as HttpBackend | undefined)?.[Symbol.asyncDispose]()
    await (newServer as HttpBackend | undefined)?.[Symbol.asyncDispose]()
  })

  function check(n: number, status: number | undefined, what: unknown, body: string): void {
    const { method, path } = nth(n)
    const nothing = path.startsWith('/nothing')
    assert.deepEqual([status, what, body], [nothing ? 204 : 200, expected(n), nothing || method === 'HEAD' ? '' : expected(n)], `request ${n}`)
  }

  for (const [title, most] of [['one after the other', 1], [`${PIPELINED} sent at a time`, PIPELINED]] as const) {
    it(`${REQUESTS} requests in turn, ${title}: answers come in their order`, async () => {
      const socket = connect(rig.plain, '127.0.0.1')
      let text = ''
      let heard = (): void => {}
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1')
        heard()
      })
      const more = async (): Promise<void> => {
        await new Promise<void>((resolve, reject) => {
          heard = resolve
          socket.once('close', () => reject(new Error(`closed: ${text}`)))
        })
        socket.removeAllListeners('close')
      }
      for (let first = 0; first < REQUESTS; first += most) {
        const numbers = Array.from({ length: Math.min(most, REQUESTS - first) }, (_, index) => first + index)
        socket.write(
          Buffer.concat(
            numbers.flatMap((n) => {
              const { method, path, body, authorization } = nth(n)
              const length = body === undefined ? '' : `Content-Length: ${body.length}\r\n`
              return [Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: mail\r\nAuthorization: ${authorization}\r\n${length}\r\n`), body ?? Buffer.alloc(0)]
            }),
          ),
        )
        for (const n of numbers) {
          while (!text.includes('\r\n\r\n')) await more()
          const end = text.indexOf('\r\n\r\n')
          const head = text.slice(0, end)
          text = text.slice(end + 4)
          const length = nth(n).method === 'HEAD' ? 0 : Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
          while (text.length < length) await more()
          check(n, Number(head.split(' ')[1]), /x-what: (.*)/i.exec(head)?.[1], text.slice(0, length))
          text = text.slice(length)
        }
      }
      assert.equal(text, '')
      socket.destroy()
    })
  }

  it(`${REQUESTS} requests in turn, side by side in HTTP/2`, async () => {
    const session = http2Connect(`https://localhost:${rig.tls}`, { ca: rig.authority.cert })
    await Promise.all(
      Array.from({ length: REQUESTS }, async (_, n) => {
        const { method, path, body, authorization } = nth(n)
        const stream = session.request({ ':path': path, ':method': method, authorization }, { endStream: body === undefined })
        let text = ''
        stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
        const ended = new Promise<void>((resolve, reject) => stream.on('close', resolve).on('error', reject))
        const response = once(stream, 'response') as Promise<[IncomingHttpHeaders]>
        if (body !== undefined) stream.end(body)
        const [headers] = await response
        await ended
        check(n, Number(headers[':status']), headers['x-what'], text)
      }),
    )
    session.destroy()
  })

  it('no server was asked for an account that it does not have, and all were asked once', () => {
    for (const [server, name] of [[newServer, 'ann'], [oldServer, 'bob']] as const) {
      assert.equal(server.requests.length, (3 * REQUESTS) / 2)
      const authorization = `Basic ${Buffer.from(`${name}@example.com:secret`).toString('base64')}`
      assert.equal(server.requests.filter(({ fields }) => fields.includes(authorization)).length, (3 * REQUESTS) / 2)
    }
  })
})
