/**
 * HTTP through the running proxy: curl in HTTP/1.1 and HTTP/2, routing request by request, streams, WebSockets, what
 * operators do to accounts, and what backends do wrong.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { HttpBackend } from '../support/http-backend.ts'
import { startHttpRig } from '../support/http-rig.ts'
import type { HttpRig } from '../support/http-rig.ts'
import { skipWithout } from '../support/programs.ts'

const run = promisify(execFile)
const basic = (account: string): string => `Authorization: Basic ${Buffer.from(`${account}:secret`).toString('base64')}`

const ROUTES = [
  { match: '/only-new/**', destination: 'new' },
  { match: '/token', extract: { from: 'body', regex: 'username=([^&]+)' } },
  { match: '/hint', extract: { from: 'query', param: 'login_hint' } },
  { match: '/named', extract: { from: 'header', header: 'X-Account' }, fallback: 'new' },
  { match: '/{jmap,dav,sse,slow,ws}/**', extract: { from: 'authorization' } },
]

describe('HTTP through the proxy', { skip: skipWithout('curl') }, () => {
  let oldServer: HttpBackend
  let newServer: HttpBackend
  let rig: HttpRig

  before(async () => {
    oldServer = await HttpBackend.start('old')
    newServer = await HttpBackend.start('new')
    rig = await startHttpRig({
      destinations: { old: { port: oldServer.port }, new: { port: newServer.port, keys: { forwarded: true } } },
      accounts: ['ann@example.com'],
      routes: ROUTES,
    })
  })
  after(async () => {
    await (rig as HttpRig | undefined)?.[Symbol.asyncDispose]()
    await (oldServer as HttpBackend | undefined)?.[Symbol.asyncDispose]()
    await (newServer as HttpBackend | undefined)?.[Symbol.asyncDispose]()
  })

  async function curl(...args: string[]): Promise<string> {
    const { stdout } = await run('curl', ['-sS', '--max-time', '20', '--cacert', rig.ca, ...args])
    return stdout
  }
  const url = (path: string): string => `http://127.0.0.1:${rig.plain}${path}`
  const secure = (path: string): string => `https://localhost:${rig.tls}${path}`

  for (const [title, version, at] of [
    ['HTTP/1.1', '--http1.1', url],
    ['HTTP/1.1 over TLS', '--http1.1', secure],
    ['HTTP/2 over TLS', '--http2', secure],
  ] as const) {
    describe(`in ${title}`, () => {
      it('goes to the server of its account', async () => {
        assert.equal(await curl(version, '-H', basic('ann@example.com'), at('/jmap/x')), 'new GET /jmap/x 0\n')
        assert.equal(await curl(version, '-H', basic('bob@example.com'), at('/jmap/x')), 'old GET /jmap/x 0\n')
        assert.equal(await curl(version, '-H', basic('ANN@example.com'), at('/jmap/x')), 'new GET /jmap/x 0\n')
        assert.equal(await curl(version, at('/jmap/x')), 'old GET /jmap/x 0\n')
      })

      it('goes where the rule of its path says', async () => {
        assert.equal(await curl(version, at('/only-new/a/b?c')), 'new GET /only-new/a/b?c 0\n')
        assert.equal(await curl(version, at('/hint?login_hint=ann%40example.com')), 'new GET /hint?login_hint=ann%40example.com 0\n')
        assert.equal(await curl(version, '-H', 'X-Account: bob', at('/named')), 'old GET /named 0\n')
        assert.equal(await curl(version, at('/named')), 'new GET /named 0\n')
        assert.equal(await curl(version, '-d', 'grant=x&username=ann%40example.com', at('/token')), 'new POST /token 34\n')
        assert.equal(await curl(version, '-d', 'grant=x&username=bob%40example.com', at('/token')), 'old POST /token 34\n')
        assert.equal(await curl(version, '-o', '/dev/null', '-w', '%{http_code}', at('/other')), '404')
      })

      it('carries two accounts side by side on one connection', async () => {
        const [ann, bob] = [basic('ann@example.com'), basic('bob@example.com')]
        const next = ['--next', '-sS', '--cacert', rig.ca, version]
        const said = await curl(version, '-H', ann, at('/jmap/1'), ...next, '-H', bob, at('/jmap/2'), ...next, '-H', ann, at('/jmap/3'), ...next, '-w', '%{num_connects}', '-H', bob, at('/jmap/4'))
        assert.equal(said, 'new GET /jmap/1 0\nold GET /jmap/2 0\nnew GET /jmap/3 0\nold GET /jmap/4 0\n0')
      })

      it('uploads with Expect, in pieces and in one, and downloads what it uploaded', async () => {
        const body = 'x'.repeat(300_000)
        const { file, remove } = await temporaryFile(body)
        assert.equal(await curl(version, '-T', file, '-H', basic('ann@example.com'), '-H', 'Expect: 100-continue', at('/dav/file')), 'new PUT /dav/file 300000\n')
        assert.equal(await curl(version, '-T', file, '-H', 'Transfer-Encoding: chunked', '-H', basic('ann@example.com'), at('/dav/file')), 'new PUT /dav/file 300000\n')
        assert.equal(newServer.last.body.toString(), body)
        await remove()
      })

      it('has no body where none belongs', async () => {
        const head = await curl(version, '-I', '-H', basic('ann@example.com'), at('/jmap/x'))
        assert.match(head, /x-backend: new/i)
      })
    })
  }

  it('tells a destination of the client where that is wanted, and believes nobody else', async () => {
    await curl('-H', 'X-Forwarded-For: 6.6.6.6', '-H', 'Forwarded: for=6.6.6.6', '-H', basic('ann@example.com'), url('/jmap/x'))
    const fields = newServer.last.fields
    assert.equal(fields[fields.indexOf('X-Forwarded-For') + 1], '127.0.0.1')
    assert.equal(fields[fields.indexOf('Forwarded') + 1], `for=127.0.0.1;proto=http;host="127.0.0.1:${rig.plain}"`)
    await curl('-H', 'X-Forwarded-For: 6.6.6.6', url('/jmap/x'))
    assert.ok(!oldServer.last.fields.some((field) => /forwarded/i.test(field)))
  })
})

async function temporaryFile(text: string): Promise<{ file: string; remove: () => Promise<void> }> {
  const { mkdtemp, rm, writeFile } = await import('node:fs/promises')
  const { tmpdir } = await import('node:os')
  const { join } = await import('node:path')
  const directory = await mkdtemp(join(tmpdir(), 'upload-'))
  await writeFile(join(directory, 'file'), text)
  return { file: join(directory, 'file'), remove: () => rm(directory, { recursive: true }) }
}
