/**
 * Bodies of any size through the proxy, compared by hash, while the far end reads slowly or not at all for a while: what is
 * under way in between stays small, and so does the worker. SIGNALBOX_HTTP_LARGE_BYTES makes them larger than the 48 MiB of
 * every day (5368709120 takes some minutes); nothing is written to disk.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, request as httpRequest } from 'node:http'
import type { Server } from 'node:http'
import { connect as http2Connect } from 'node:http2'
import { request as httpsRequest } from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'

const MIB = 1024 * 1024
const BYTES = Number(process.env['SIGNALBOX_HTTP_LARGE_BYTES'] ?? 48 * MIB)
/** What may be between the two ends while one of them stands still: the kernel's buffers on four sockets, and ours. */
const BETWEEN = 24 * MIB
/** What a worker's memory may grow by, Node's own garbage included. */
const GROWTH = 160 * MIB
/** The slow side rests that long after so many bytes. */
const REST = { ms: 15, after: 4 * MIB }

type Version = 'plain' | 'tls' | 'h2'
const TITLES = { plain: 'HTTP/1.1', tls: 'HTTP/1.1 over TLS', h2: 'HTTP/2' } as const

/** Pieces that never repeat, and what they hash to. */
class Source extends Readable {
  sent = 0
  readonly hash: Hash = createHash('sha256')
  readonly #block = randomBytes(256 * 1024)
  readonly #total: number

  constructor(total: number) {
    super({ highWaterMark: 256 * 1024 })
    this.#total = total
  }

  override _read(): void {
    if (this.sent >= this.#total) return void this.push(null)
    const chunk = Buffer.from(this.#block.subarray(0, Math.min(this.#block.length, this.#total - this.sent)))
    chunk.writeUIntBE(this.sent, 0, 6)
    this.sent += chunk.length
    this.hash.update(chunk)
    this.push(chunk)
  }
}

/** Reads a little, stands still until `go`, then goes on slowly. */
class Sink extends Writable {
  received = 0
  readonly hash: Hash = createHash('sha256')
  readonly #gate = Promise.withResolvers<void>()
  #rested = 0

  constructor() {
    super({ highWaterMark: 64 * 1024 })
  }

  go(): void {
    this.#gate.resolve()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.hash.update(chunk)
    this.received += chunk.length
    if (this.received < MIB) return done()
    void this.#later(done)
  }

  async #later(done: () => void): Promise<void> {
    await this.#gate.promise
    if (this.received - this.#rested >= REST.after) {
      this.#rested = this.received
      await systemClock.sleep(REST.ms)
    }
    done()
  }
}

interface Transfer {
  readonly source: Source
  readonly sink: Sink
  readonly over: Promise<unknown>
}

describe(`bodies of ${BYTES / MIB} MiB`, () => {
  let backend: Server
  let rig: HttpRig
  /** What the backend does next. */
  let upload: { sink: Sink; over: PromiseWithResolvers<void> } | undefined
  let download: Source | undefined

  before(async () => {
    backend = createServer((request, response) => {
      if (request.method === 'PUT' && upload !== undefined) {
        const { sink, over } = upload
        pipeline(request, sink).then(() => over.resolve(response.end(sink.hash.copy().digest('hex')) && undefined), over.reject)
      } else if (download !== undefined) {
        response.setHeader('Content-Length', BYTES)
        pipeline(download, response).catch((error: Error) => response.destroy(error))
      } else response.end()
    })
    backend.listen(0, '127.0.0.1')
    await once(backend, 'listening')
    const port = (backend.address() as AddressInfo).port
    rig = await startHttpRig({ destinations: { old: { port }, new: { port } }, routes: [{ match: '/**', extract: { from: 'authorization' } }], tables: { server: { threads: 1 } } })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    ;(backend as Server | undefined)?.closeAllConnections()
    ;(backend as Server | undefined)?.close()
  })

  function uploading(version: Version): Transfer {
    const [source, sink] = [new Source(BYTES), new Sink()]
    const over = Promise.withResolvers<void>()
    upload = { sink, over }
    return { source, sink, over: Promise.all([over.promise, send(version, 'PUT', source).then(async ({ stream, close }) => {
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      close()
      assert.equal(Buffer.concat(chunks).toString(), source.hash.copy().digest('hex'))
    })]) }
  }

  function downloading(version: Version): Transfer {
    const [source, sink] = [new Source(BYTES), new Sink()]
    download = source
    return { source, sink, over: send(version, 'GET').then(async ({ stream, close }) => {
      await pipeline(stream, sink)
      close()
    }) }
  }

  /** A request; its answer's body, and what ends its connection. */
  async function send(version: Version, method: string, body?: Source): Promise<{ stream: Readable; close: () => void }> {
    const ca = rig.authority.cert
    if (version === 'h2') {
      const session = http2Connect(`https://localhost:${rig.tls}`, { ca })
      const stream = session.request({ ':method': method, ':path': '/large', ...(body === undefined ? {} : { 'content-length': BYTES }) }, { endStream: body === undefined })
      if (body !== undefined) await Promise.all([pipeline(body, stream), once(stream, 'response')])
      else await once(stream, 'response')
      return { stream, close: () => session.destroy() }
    }
    const headers = body === undefined ? {} : { 'content-length': BYTES }
    const options = { host: '127.0.0.1', path: '/large', method, headers, agent: false as const }
    const request = version === 'tls' ? httpsRequest({ ...options, port: rig.tls, servername: 'localhost', ca }) : httpRequest({ ...options, port: rig.plain })
    const response = once(request, 'response')
    if (body === undefined) request.end()
    else await pipeline(body, request)
    const [stream] = (await response) as [Readable]
    return { stream, close: () => request.destroy() }
  }

  for (const version of ['plain', 'tls', 'h2'] as const) {
    for (const [direction, begin] of [['upload', uploading], ['download', downloading]] as const) {
      it(`${direction}, ${TITLES[version]}: comes through whole, and waits while nobody reads`, async (t) => {
        const pid = [...rig.box.workers().values()][0] ?? assert.fail('a worker')
        const before = resident(pid)
        let most = before
        const watch = systemClock.every(100, () => (most = Math.max(most, resident(pid))))
        const began = systemClock.now()
        const { source, sink, over } = begin(version)
        // Nobody reads on: what is sent comes to a stand.
        let stood = -1
        for (let i = 0; i < 200 && (source.sent === 0 || stood !== source.sent); i++) {
          stood = source.sent
          await systemClock.sleep(100)
        }
        const between = source.sent - sink.received
        sink.go()
        await over
        watch.cancel()
        const seconds = (systemClock.now() - began) / 1000
        t.diagnostic(`${(BYTES / MIB / seconds).toFixed(0)} MiB/s, ${(between / MIB).toFixed(1)} MiB in between while nobody read, worker from ${(before / MIB).toFixed(0)} to ${(most / MIB).toFixed(0)} MiB`)
        assert.ok(between < BETWEEN, `${between} bytes are in between`)
        assert.deepEqual([sink.received, sink.hash.digest('hex')], [BYTES, source.hash.digest('hex')])
        assert.ok(most - before < GROWTH, `the worker grew from ${before} to ${most}`)
      })
    }
  }
})

/** Bytes of physical memory that a process holds. */
function resident(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
}
