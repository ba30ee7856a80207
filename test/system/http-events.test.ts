/**
 * Event streams through the running proxy on which nothing happens for longer than any other exchange may be silent, in both
 * versions. SIGNALBOX_HTTP_EVENTS_SECONDS (3) makes the silence longer.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect as http2Connect } from 'node:http2'
import { describe, it } from 'node:test'
import type { Readable } from 'node:stream'
import { systemClock } from '../../src/clock.ts'
import { startHttpRig } from '../support/http-rig.ts'
import { JmapServer } from '../support/jmap-server.ts'

const SECONDS = Number(process.env['SIGNALBOX_HTTP_EVENTS_SECONDS'] ?? 3)
const USER = 'ann@example.com'
const PATH = '/jmap/eventsource/?types=*&closeafter=no&ping=0'

describe('event streams', () => {
  it(`are silent for ${SECONDS} s and go on, in HTTP/1.1 and HTTP/2`, async () => {
    await using server = await JmapServer.start({ name: 'old', users: { [USER]: 'secret' } })
    await using rig = await startHttpRig({ destinations: { old: { port: server.port } }, routes: [{ match: '/**', extract: { from: 'authorization' } }], http: { relay_idle: '1s', keepalive_timeout: '1s' } })
    const headers = { authorization: `Basic ${Buffer.from(`${USER}:secret`).toString('base64')}` }
    const request = httpRequest({ host: '127.0.0.1', port: rig.plain, path: PATH, headers, agent: false })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const session = http2Connect(`https://localhost:${rig.tls}`, { ca: rig.authority.cert })
    const stream = session.request({ ':path': PATH, ...headers })
    await once(stream, 'response')
    const streams: readonly Readable[] = [response, stream]
    const said = streams.map(() => '')
    const ends: unknown[] = []
    streams.forEach((each, index) => {
      each.on('data', (chunk: Buffer) => (said[index] += chunk.toString()))
      each.on('close', () => ends.push(index))
      each.on('error', (error) => ends.push(error))
    })
    await systemClock.sleep(SECONDS * 1_000)
    assert.deepEqual([ends, server.listeners(USER)], [[], 2])
    const change = httpRequest({ host: '127.0.0.1', port: rig.plain, path: '/jmap/', method: 'POST', headers, agent: false })
    const accountId = /"primaryAccounts":\{"[^"]+":"(\w+)"/.exec(await text(rig.plain, headers))?.[1]
    change.end(JSON.stringify({ using: ['urn:ietf:params:jmap:mail'], methodCalls: [['Mailbox/set', { accountId, create: { k: { name: 'x' } } }, 'c']] }))
    await once(change, 'response')
    for (let i = 0; i < 500 && said.some((one) => !one.includes('event: state')); i++) await systemClock.sleep(10)
    assert.deepEqual(said.map((one) => one.includes('event: state')), [true, true])
    request.destroy()
    session.destroy()
  })
})

async function text(port: number, headers: Readonly<Record<string, string>>): Promise<string> {
  const request = httpRequest({ host: '127.0.0.1', port, path: '/jmap/session', headers, agent: false })
  request.end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  let all = ''
  for await (const chunk of response) all += String(chunk)
  return all
}
