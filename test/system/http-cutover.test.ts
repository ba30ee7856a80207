/**
 * Accounts that move while their clients speak HTTP, over two instances: the next request on the same connection is at the new
 * server, WebSockets and event streams end, requests wait for the end of a hold, and none that began behind the answer to a
 * cutover is seen by the old server.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { after, before, describe, it } from 'node:test'
import { WebSocket } from 'ws'
import { systemClock } from '../../src/clock.ts'
import { FleetRig } from '../support/fleet-rig.ts'
import type { FleetMember } from '../support/fleet-rig.ts'
import { JmapServer } from '../support/jmap-server.ts'
import { freePorts } from '../support/ports.ts'
import { skipWithout } from '../support/programs.ts'

const ACCOUNT = 'carol@example.com'
const AUTHORIZATION = `Basic ${Buffer.from(`${ACCOUNT}:secret`).toString('base64')}`
const ROUNDS = 10
const CLIENTS = 6

describe('accounts that move under HTTP, two instances', { skip: skipWithout('redis-server') }, () => {
  let servers: Readonly<Record<'old' | 'new', JmapServer>>
  let rig: FleetRig
  let a: FleetMember
  let b: FleetMember

  before(async () => {
    const users = { [ACCOUNT]: 'secret' }
    servers = { old: await JmapServer.start({ name: 'old', users }), new: await JmapServer.start({ name: 'new', users }) }
    // Nobody reads mail here.
    const [imap = 0] = await freePorts(1)
    rig = await FleetRig.start(['a', 'b'], { destinations: { old: imap, new: imap }, web: { old: servers.old.port, new: servers.new.port } })
    ;[a, b] = rig.pair
  })
  after(async () => {
    await (rig as FleetRig | undefined)?.stop()
    for (const server of Object.values((servers as typeof servers | undefined) ?? {})) await server[Symbol.asyncDispose]()
  })

  /** The server that answers; rejects when the connection breaks off, or the answer is a refusal. */
  async function reached(member: FleetMember, agent: Agent | false = false): Promise<unknown> {
    const request = httpRequest({ host: '127.0.0.1', port: member.web, path: '/jmap/session', headers: { authorization: AUTHORIZATION }, agent })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    let text = ''
    for await (const chunk of response) text += String(chunk)
    assert.equal(response.statusCode, 200, text)
    return response.headers['x-server']
  }

  async function socketTo(member: FleetMember): Promise<{ socket: WebSocket; closed: Promise<void> }> {
    const socket = new WebSocket(`ws://127.0.0.1:${member.web}/jmap/ws`, 'jmap', { headers: { authorization: AUTHORIZATION } })
    await once(socket, 'open')
    return { socket, closed: new Promise((resolve) => socket.on('close', () => resolve())) }
  }

  async function eventsFrom(member: FleetMember): Promise<{ closed: Promise<void> }> {
    const request = httpRequest({ host: '127.0.0.1', port: member.web, path: '/jmap/eventsource/?types=*&closeafter=no&ping=0', headers: { authorization: AUTHORIZATION }, agent: false })
    request.on('error', () => {})
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    response.on('error', () => {})
    response.resume()
    return { closed: new Promise((resolve) => response.on('close', () => resolve())) }
  }

  it('a cutover told to one instance moves the next request on every connection, and ends WebSockets and event streams at both', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (const member of [a, b]) assert.equal(await reached(member, agent), 'old')
    const ending = [await socketTo(a), await socketTo(b), await eventsFrom(a), await eventsFrom(b)].map(({ closed }) => closed)
    const answer = await a.admin.request('POST', '/accounts/cutover', { identifier: ACCOUNT, destination: 'new' })
    assert.equal(answer.status, 200, answer.body)
    await Promise.all(ending)
    for (const member of [a, b]) assert.equal(await reached(member, agent), 'new')
    const { socket } = await socketTo(b)
    assert.deepEqual([servers.old.sockets.size, servers.new.sockets.size, servers.old.listeners(ACCOUNT)], [0, 1, 0])
    socket.terminate()
    agent.destroy()
  })

  it('PUT moves the next request, and a kick what is under way', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const stands = await socketTo(a)
    assert.equal(await reached(a, agent), 'new')
    assert.equal((await b.admin.put(ACCOUNT, 'old')).status, 200)
    assert.equal(await reached(a, agent), 'old')
    assert.equal(stands.socket.readyState, WebSocket.OPEN)
    assert.equal((await b.admin.kick(ACCOUNT)).status, 200)
    await stands.closed
    agent.destroy()
  })

  it('requests wait while the account is held, at both instances, and go to the new server then', async () => {
    const seen = servers.old.requests.length
    assert.equal((await a.admin.delay(ACCOUNT, 2)).status, 200)
    const began = systemClock.now()
    const waiting = [a, b, a, b, a, b].map((member) => reached(member))
    assert.equal((await b.admin.put(ACCOUNT, 'new')).status, 200)
    assert.deepEqual(await Promise.all(waiting), waiting.map(() => 'new'))
    assert.ok(systemClock.now() - began > 500, 'nothing was held')
    assert.equal(servers.old.requests.length, seen)
  })

  it(`${ROUNDS} cutovers back and forth under ${CLIENTS} clients that never pause: what begins behind an answer is at its server`, async () => {
    /** The server of the last cutover that was answered, and how many have begun and were answered. */
    let now = 'new'
    let begun = 0
    let answered = 0
    const end = new AbortController()
    const tally = { right: 0, between: 0, brokenOff: 0 }
    const wrong: string[] = []
    const client = async (member: FleetMember): Promise<void> => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      while (!end.signal.aborted) {
        const [expected, quiet] = [now, begun === answered ? begun : -1]
        try {
          const at = await reached(member, agent)
          // Only what lies between two cutovers can be judged.
          if (quiet !== begun) tally.between++
          else if (at === expected) tally.right++
          else wrong.push(`${String(at)} instead of ${expected}`)
        } catch (error) {
          if (quiet !== begun && error instanceof Error && 'code' in error) tally.brokenOff++
          else wrong.push(String(error))
        }
      }
      agent.destroy()
    }
    const clients = Array.from({ length: CLIENTS }, (_, n) => client(n % 2 === 0 ? a : b))
    for (let round = 0; round < ROUNDS; round++) {
      const destination = round % 2 === 0 ? 'old' : 'new'
      begun++
      const answer = await (round % 3 === 0 ? b : a).admin.request('POST', '/accounts/cutover', { identifier: ACCOUNT, destination })
      assert.equal(answer.status, 200, answer.body)
      now = destination
      answered++
      const target = tally.right + 20
      for (let i = 0; i < 1_000 && tally.right < target; i++) await systemClock.sleep(5)
    }
    end.abort()
    await Promise.all(clients)
    assert.deepEqual(wrong, [])
    assert.ok(tally.right >= ROUNDS * 20, JSON.stringify(tally))
  })
})
