import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import type { Socket } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import fc from 'fast-check'
import { SignalboxError } from '../../src/errors.ts'
import { takeProxyHeader } from '../../src/listener/inbound-proxy.ts'
import { PROXY_HEADER_WAIT_MS } from '../../src/limits.ts'
import { LINE, bytewise, headerOf, writeAll } from '../support/behind-proxy.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually } from '../support/settled.ts'
import { socketPair } from '../support/socket-pair.ts'

const ENDPOINTS = { clientAddress: '203.0.113.9', clientPort: 4711, localAddress: '198.51.100.7', localPort: 993 }

const open: Socket[] = []

afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

async function taking(options: { required?: boolean; clientFirst?: boolean } = {}) {
  const { near, far } = await socketPair()
  open.push(near, far.socket)
  const clock = new FakeClock()
  const cancel = new AbortController()
  const taken = takeProxyHeader({ socket: near, required: false, clientFirst: false, ...options, clock, cancel: cancel.signal })
  // Some tests look at it later than it may fail.
  taken.catch(() => {})
  /** Everything that a dialogue would find. */
  const rest = async (): Promise<string> => {
    let text = ''
    near.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    near.resume()
    far.socket.end()
    await eventually(() => near.readableEnded, 'the rest is read')
    return text
  }
  return { near, far, clock, cancel, taken, rest }
}

const bare = ({ near }: { near: { listenerCount(name: string): number } }): void => {
  for (const name of ['data', 'end', 'close']) ok(near.listenerCount(name) <= (name === 'end' ? 1 : 0), name)
  equal(near.listenerCount('error'), 0)
}

describe('a PROXY header is taken off a connection', () => {
  for (const [version, header] of [['1', Buffer.from(LINE)], ['2', headerOf()]] as const) {
    it(`version ${version}, with all behind it left where it was`, async () => {
      const one = await taking({ required: true })
      one.far.socket.write(Buffer.concat([header, Buffer.from('a1 NOOP\r\n')]))
      deepEqual(await one.taken, ENDPOINTS)
      bare(one)
      equal(one.near.isPaused(), true)
      equal(one.clock.pending, 0)
      equal(await one.rest(), 'a1 NOOP\r\n')
    })

    it(`version ${version}, a byte at a time`, async () => {
      const one = await taking({ required: true })
      await writeAll(one.far.socket, bytewise(Buffer.concat([header, Buffer.from('a1 NOOP\r\n')])))
      deepEqual(await one.taken, ENDPOINTS)
      equal(await one.rest(), 'a1 NOOP\r\n')
    })
  }

  it('however it is cut, and whatever follows', async () => {
    const header = fc.constantFrom(headerOf(), headerOf('2001:db8::9'), Buffer.from(LINE), Buffer.from('PROXY UNKNOWN\r\n'))
    await fc.assert(
      fc.asyncProperty(header, fc.uint8Array({ maxLength: 60 }), fc.array(fc.nat(120), { maxLength: 4 }), async (begin, behind, cuts) => {
        const one = await taking({ required: true })
        const whole = Buffer.concat([begin, behind])
        const ends = [...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length]
        let from = 0
        const pieces = ends.map((end) => whole.subarray(from, (from = end)))
        await writeAll(one.far.socket, pieces.filter((piece) => piece.length > 0))
        await one.taken
        equal(await one.rest(), Buffer.from(behind).toString('latin1'))
        one.near.destroy()
        one.far.socket.destroy()
      }),
      { numRuns: 60 },
    )
  })

  it('once: a second one is what the client says', async () => {
    const one = await taking({ required: true })
    one.far.send(LINE + LINE)
    deepEqual(await one.taken, ENDPOINTS)
    equal(await one.rest(), LINE)
  })

  it('that announces nobody leaves the addresses to the socket', async () => {
    const one = await taking({ required: true })
    one.far.send('PROXY UNKNOWN\r\nrest')
    equal(await one.taken, undefined)
    equal(await one.rest(), 'rest')
  })
})

describe('without a PROXY header', () => {
  it('a connection that needs one is closed', async () => {
    const one = await taking({ required: true })
    one.far.send('EHLO x\r\n')
    await rejects(one.taken, { code: 'CLIENT_PROXY_HEADER' })
    equal(one.near.destroyed, true)
  })

  it('a connection that may have one keeps every byte', async () => {
    const one = await taking()
    one.far.send('PROX')
    await eventually(() => one.near.bytesRead === 4, 'the beginning has come')
    one.far.send('Y! and more')
    equal(await one.taken, undefined)
    bare(one)
    equal(await one.rest(), 'PROXY! and more')
  })

  it('a peer that may send one and is silent is taken for a client that waits to be greeted', async () => {
    const one = await taking()
    one.clock.advance(PROXY_HEADER_WAIT_MS - 1)
    equal(one.clock.pending, 1)
    one.clock.advance(1)
    equal(await one.taken, undefined)
    bare(one)
    equal(await one.rest(), '')
  })

  it('nobody is waited for in vain where the client speaks first, or a header must come', async () => {
    for (const options of [{ clientFirst: true }, { required: true }]) {
      const one = await taking(options)
      equal(one.clock.pending, 0)
      one.far.send(LINE)
      deepEqual(await one.taken, ENDPOINTS)
    }
  })

  it('a peer that has begun one is waited for', async () => {
    const one = await taking()
    one.far.send('PROXY TCP4')
    await eventually(() => one.clock.pending === 0, 'no longer taken for silent')
    one.far.send(' 203.0.113.9 198.51.100.7 4711 993\r\n')
    deepEqual(await one.taken, ENDPOINTS)
  })
})

describe('a connection is closed', () => {
  it('for a malformed header, also where none is needed', async () => {
    for (const required of [true, false]) {
      const one = await taking({ required })
      one.far.send('PROXY TCP4 nonsense\r\n')
      await rejects(one.taken, { code: 'CLIENT_PROXY_HEADER' })
      await eventually(() => one.far.gone, 'closed')
    }
  })

  it('for a header that never ends, with no more than its limit read', async () => {
    const one = await taking({ required: true })
    one.far.socket.write(Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540a2111ffff', 'hex'), Buffer.alloc(100_000)]))
    await rejects(one.taken, { code: 'CLIENT_PROXY_HEADER' })
    equal(one.near.destroyed, true)
  })

  it('when its other end goes away in the middle of one', async () => {
    for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
      const one = await taking({ required: true })
      one.far.send('PROXY ')
      await eventually(() => one.near.bytesRead === 6, 'the beginning has come')
      one.far.socket[leave]()
      await rejects(one.taken, { code: 'CLIENT_CLOSED' })
      equal(one.near.destroyed, true)
    }
  })

  it('when the session is ended, in the middle of one and before it', async () => {
    const why = new SignalboxError('CLIENT_TIMEOUT', 'slow')
    for (const text of ['', 'PROXY TCP4 203.']) {
      const one = await taking()
      one.far.send(text)
      await eventually(() => one.near.bytesRead === text.length, 'the beginning has come')
      one.cancel.abort(why)
      await rejects(one.taken, why)
      equal(one.near.destroyed, true)
      equal(one.clock.pending, 0)
    }
  })

  it('when it was ended, or gone, before it began', async () => {
    const { near, far } = await socketPair()
    open.push(near, far.socket)
    const clock = new FakeClock()
    const ended = AbortSignal.abort(new SignalboxError('DRAINING', 'over'))
    await rejects(takeProxyHeader({ socket: near, required: false, clientFirst: false, clock, cancel: ended }), { code: 'DRAINING' })
    const options = { socket: near, required: true, clientFirst: false, clock, cancel: new AbortController().signal }
    await rejects(takeProxyHeader(options), { code: 'CLIENT_CLOSED' })
    equal(clock.pending, 0)
  })
})
