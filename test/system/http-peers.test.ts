/**
 * HTTP through the proxy with software that is in use: HAProxy in front of it with PROXY headers, nginx behind it (files,
 * WebDAV, its own limits and its own keep-alive), JMAP servers, curl, Python's clients, WebSockets with many messages.
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { WebSocket, WebSocketServer } from 'ws'
import { systemClock } from '../../src/clock.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'
import { JmapServer } from '../support/jmap-server.ts'
import { freePorts } from '../support/ports.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { startHaproxy, startNginx } from '../support/web-servers.ts'
import type { Nginx } from '../support/web-servers.ts'

const run = promisify(execFile)
const SCRIPT = fileURLToPath(new URL('http_client.py', import.meta.url))
const USERS = { 'ann@example.com': 'secret', 'bob@example.com': 'secret' }
const basic = (account: string): string => `Authorization: Basic ${Buffer.from(`${account}:secret`).toString('base64')}`
const ANN = basic('ann@example.com')
const BOB = basic('bob@example.com')
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const MESSAGES = 10_000

describe('HTTP with other software', { skip: skipWithout('curl', 'nginx', 'haproxy', 'python3') }, () => {
  let temporary: Temporary
  let oldServer: JmapServer
  let newServer: JmapServer
  let nginx: Nginx
  let haproxy: AsyncDisposable
  let files: Server
  let rig: HttpRig
  let front: readonly [v1: number, v2: number]
  /** What was uploaded to `files`, by path: what has come so far. */
  const stored = new Map<string, Buffer[]>()

  before(async () => {
    temporary = await makeTemporary('peers')
    oldServer = await JmapServer.start({ name: 'old', users: USERS })
    newServer = await JmapServer.start({ name: 'new', users: USERS })
    nginx = await startNginx('nginx', newServer.port)
    await mkdir(join(nginx.root, 'pub'))
    await writeFile(join(nginx.root, 'pub/x.txt'), 'hello world\n')
    files = createServer((request, response) => {
      const path = request.url ?? ''
      const from = Number(/^bytes (\d+)-/.exec(request.headers['content-range'] ?? '')?.[1] ?? 0)
      const chunks = [there(path).subarray(0, from)]
      stored.set(path, chunks)
      request.on('error', () => {})
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => response.end(String(there(path).length)))
    })
    const sockets = new WebSocketServer({ server: files })
    sockets.on('connection', talk)
    files.listen(0, '127.0.0.1')
    await once(files, 'listening')
    rig = await startHttpRig({
      destinations: {
        old: { port: oldServer.port },
        new: { port: newServer.port, keys: { forwarded: true } },
        nginx: { port: nginx.port },
        files: { port: (files.address() as AddressInfo).port },
      },
      accounts: ['ann@example.com'],
      routes: [
        { match: '/{pub,dav,small,app}/**', destination: 'nginx' },
        { match: '/{files,talk}/**', destination: 'files' },
        { match: '/{jmap,jmap/**,.well-known/jmap}', extract: { from: 'authorization' } },
      ],
    })
    const [v1 = 0, v2 = 0] = await freePorts(2)
    front = [v1, v2]
    haproxy = await startHaproxy([
      { port: v1, to: rig.trustingTls, header: 'send-proxy' },
      { port: v2, to: rig.trustingTls, header: 'send-proxy-v2' },
    ])
  })
  after(async () => {
    await (haproxy as AsyncDisposable | undefined)?.[Symbol.asyncDispose]()
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    ;(files as Server | undefined)?.closeAllConnections()
    ;(files as Server | undefined)?.close()
    await (nginx as Nginx | undefined)?.[Symbol.asyncDispose]()
    await (oldServer as JmapServer | undefined)?.[Symbol.asyncDispose]()
    await (newServer as JmapServer | undefined)?.[Symbol.asyncDispose]()
    await (temporary as Temporary | undefined)?.remove()
  })

  const there = (path: string): Buffer => Buffer.concat(stored.get(path) ?? [])
  async function curl(...args: readonly string[]): Promise<string> {
    const { stdout } = await run('curl', ['-sS', '--max-time', '20', '--cacert', rig.ca, ...args], { maxBuffer: 64 * 1024 * 1024, encoding: 'latin1' })
    return stdout
  }
  const status = (...args: readonly string[]): Promise<string> => curl('-o', '/dev/null', '-w', '%{http_code}', ...args)
  const url = (path: string): string => `http://127.0.0.1:${rig.plain}${path}`
  const secure = (path: string): string => `https://localhost:${rig.tls}${path}`

  describe('HAProxy in front', () => {
    for (const [index, header] of ['version 1', 'version 2'].entries()) {
      for (const version of ['--http1.1', '--http2']) {
        it(`with PROXY headers of ${header} and ${version.slice(2)} through it: the client's address arrives`, async () => {
          const source = `127.0.${50 + index}.${version.length}`
          const said = await curl(version, '--interface', source, '-w', ' %{http_version}', '-H', ANN, `https://localhost:${front[index]}/jmap/session`)
          assert.match(said, /"username":"ann@example.com".* (1\.1|2)$/)
          assert.equal(said.endsWith(version === '--http2' ? ' 2' : ' 1.1'), true)
          assert.equal(newServer.requests.at(-1)?.forwarded, `for=${source};proto=https;host="localhost:${front[index]}"`)
        })
      }
    }

    it('a hundred requests of two accounts at once in HTTP/2', async () => {
      const transfer = (n: number): string =>
        [`url = "https://localhost:${front[1]}/jmap/session?${n}"`, `header = "${n % 2 === 0 ? ANN : BOB}"`, 'output = "/dev/null"', 'write-out = "%header{x-server} %{http_code}\\n"', 'http2', `cacert = "${rig.ca}"`].join('\n')
      const file = join(temporary.path, 'many')
      await writeFile(file, `parallel\nparallel-max = 50\n${Array.from({ length: 100 }, (_, n) => transfer(n)).join('\nnext\n')}\n`)
      const lines = (await curl('-K', file)).trim().split('\n')
      assert.deepEqual([lines.filter((line) => line === 'new 200').length, lines.filter((line) => line === 'old 200').length], [50, 50])
    })
  })

  describe('nginx behind', () => {
    for (const [title, version, at] of [['HTTP/1.1', '--http1.1', url], ['HTTP/2', '--http2', secure]] as const) {
      it(`${title}: files, ranges, HEAD, what has not changed, what is not there`, async () => {
        assert.equal(await curl(version, at('/pub/x.txt')), 'hello world\n')
        assert.equal(await curl(version, '-r', '6-10', at('/pub/x.txt')), 'world')
        assert.match(await curl(version, '-I', at('/pub/x.txt')), /content-length: 12\r\n/i)
        const [, etag = ''] = /etag: (.*)\r\n/i.exec(await curl(version, '-I', at('/pub/x.txt'))) ?? []
        assert.equal(await status(version, '-H', `If-None-Match: ${etag}`, at('/pub/x.txt')), '304')
        assert.equal(await status(version, at('/pub/none.txt')), '404')
      })

      it(`${title}: WebDAV`, async () => {
        const body = randomBytes(3_000_000)
        const file = join(temporary.path, 'dav')
        await writeFile(file, body)
        const name = `/dav/${version.slice(2)}`
        assert.equal(await status(version, '-X', 'MKCOL', at(`${name}/`)), '201')
        assert.equal(await status(version, '-T', file, '-H', 'Expect: 100-continue', at(`${name}/a`)), '201')
        assert.equal(await status(version, '-X', 'PUT', '-H', 'Transfer-Encoding: chunked', '--data-binary', `@${file}`, at(`${name}/b`)), '201')
        assert.equal(await status(version, '-X', 'COPY', '-H', `Destination: ${name}/c`, at(`${name}/b`)), '204')
        assert.equal(await status(version, '-X', 'MOVE', '-H', `Destination: ${name}/d`, at(`${name}/c`)), '204')
        assert.equal(sha256(Buffer.from(await curl(version, at(`${name}/d`)), 'latin1')), sha256(body))
        assert.equal(await status(version, '-X', 'DELETE', at(`${name}/a`)), '204')
        assert.equal(await status(version, at(`${name}/a`)), '404')
      })

      it(`${title}: a body that is too large is refused while it is sent, whether or not it waited for a go-ahead`, async () => {
        const file = join(temporary.path, 'large')
        await writeFile(file, Buffer.alloc(20_000_000))
        assert.equal(await status(version, '-T', file, '-H', 'Expect: 100-continue', at('/small/x')), '413')
        assert.equal(await status(version, '-T', file, '-H', 'Expect:', at('/small/x')), '413')
      })

      it(`${title}: what it passes on in pieces comes through`, async () => {
        assert.match(await curl(version, at('/app/anything')), /^new GET \/app\/anything /)
      })
    }

    it('its keep-alive is used, its end of it loses no request, nor does its restart', async () => {
      const paths = Array.from({ length: 120 }, () => url('/pub/x.txt'))
      const said = await curl('-w', '%header{x-connection}\n', ...paths)
      const lines = said.split('\n').filter((line) => /^\d+$/.test(line))
      assert.equal(lines.length, 120)
      // Fifty requests each, and two workers that keep connections of their own; not one for each request.
      assert.ok(new Set(lines).size < 12, lines.join(' '))
      await nginx.restart()
      assert.equal(await curl(url('/pub/x.txt')), 'hello world\n')
    })
  })

  describe('curl', () => {
    it('goes on with a download that was broken off', async () => {
      const body = randomBytes(10_000_000)
      await writeFile(join(nginx.root, 'pub/big'), body)
      const part = join(temporary.path, 'part')
      await run('sh', ['-c', `curl -sS --cacert '${rig.ca}' '${secure('/pub/big')}' 2>/dev/null | head -c 3000000 > '${part}'`])
      assert.equal((await readFile(part)).length, 3_000_000)
      assert.equal(await curl('-C', '-', '-o', part, '-w', '%{http_code}', secure('/pub/big')), '206')
      assert.equal(sha256(await readFile(part)), sha256(body))
    })

    it('goes on with an upload that was broken off', async () => {
      const body = randomBytes(10_000_000)
      const file = join(temporary.path, 'upload')
      await writeFile(file, body)
      // It announces all, sends a part and leaves.
      await assert.rejects(run('sh', ['-c', `head -c 4000000 '${file}' | curl -sS -X PUT -H 'Content-Length: 10000000' -H 'Expect:' --data-binary @- --cacert '${rig.ca}' --http1.1 --max-time 1 '${secure('/files/upload')}'`]))
      for (let i = 0; i < 100 && there('/files/upload').length < 4_000_000; i++) await systemClock.sleep(20)
      assert.equal(there('/files/upload').length, 4_000_000)
      assert.equal(await curl('-C', '4000000', '-T', file, secure('/files/upload')), '10000000')
      assert.equal(sha256(there('/files/upload')), sha256(body))
    })
  })

  it("Python's clients: keep-alive over two accounts, chunks, ranges, bodiless answers, a challenge", async () => {
    const child = spawn(programPath('python3'), [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'], timeout: 60_000 })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')))
    child.stdin.end(JSON.stringify({ port: rig.plain, tls_port: rig.tls, ca: rig.ca }))
    await once(child, 'close')
    assert.deepEqual(JSON.parse(said), {
      in_turn: Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? 'new' : 'old')),
      connections: 1,
      uploaded: 500_000,
      range: [206, 'bytes 1500-2499/500000', true],
      bodiless: [[200, 0], [304, 0], [200, 500_000]],
      urllib: [200, 'new', 'ann@example.com'],
      nowhere: 404,
    })
  })

  it(`a WebSocket carries ${MESSAGES} messages in both directions at once, whole and in order`, async () => {
    const socket = new WebSocket(`wss://localhost:${rig.tls}/talk/x`, { ca: rig.authority.cert, headers: { authorization: ANN.slice('Authorization: '.length) } })
    await once(socket, 'open')
    const [said, heard] = [createHash('sha256'), createHash('sha256')]
    let count = 0
    const over = new Promise<string>((resolve) =>
      socket.on('message', (data: Buffer, isBinary) => {
        if (count < MESSAGES) {
          assert.equal(isBinary, count % 2 === 1)
          assert.equal(numberOf(data), count++)
          heard.update(data)
        } else resolve(data.toString())
      }),
    )
    for (let n = 0; n < MESSAGES; n++) {
      const message = numbered(n)
      said.update(message)
      socket.send(message, { binary: true })
    }
    const [theyHeard, theySaid] = (await over).split(' ')
    assert.deepEqual([theyHeard, theySaid], [said.digest('hex'), heard.digest('hex')])
    socket.close(4321, 'enough')
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
    assert.deepEqual([code, reason.toString()], [4321, 'enough'])
  })
})

/** A message of its own length; the even ones are text. */
function numbered(n: number): Buffer {
  return Buffer.from(String(n).padEnd(8 + ((n * 37) % 900), ' abcdefghijklmnopqrstuvwxyz'))
}

function numberOf(message: Buffer): number {
  return Number.parseInt(message.toString('latin1'), 10)
}

/** The far end of the WebSocket: says as many of its own, and when it has heard all, both hashes. */
function talk(socket: WebSocket): void {
  const [heard, said] = [createHash('sha256'), createHash('sha256')]
  let count = 0
  socket.on('message', (data: Buffer) => {
    if (numberOf(data) !== count++) return socket.close(4000, 'out of order')
    heard.update(data)
    const own = numbered(count - 1)
    said.update(own)
    socket.send(own, { binary: count % 2 === 0 })
    if (count === MESSAGES) socket.send(`${heard.digest('hex')} ${said.digest('hex')}`)
  })
}
