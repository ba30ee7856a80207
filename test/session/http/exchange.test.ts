/** One request through all its stages: what ends it in each of them, how long silence may last, and what may be done again. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SignalboxError } from '../../../src/errors.ts'
import { BRIDGE_BUFFER, HTTP_LINGER_MS } from '../../../src/limits.ts'
import { eventually } from '../../support/settled.ts'
import { GET, httpUnit, MINE, OK } from './rig.ts'

const statusOf = (said: string): string | undefined => /^HTTP\/1\.1 (\d+)/.exec(said)?.[1]
const POST = 'POST /one HTTP/1.1\r\nHost: proxy\r\nContent-Length: 10\r\n\r\n'
const MY_GET = `GET /mine HTTP/1.1\r\nHost: proxy\r\n${MINE}\r\n`

describe('silence', () => {
  it('of a backend is 504 after relay_idle, to the millisecond, and is held against it', async () => {
    await using unit = httpUnit({ http: { relayIdle: 5_000 } })
    const client = await unit.connect()
    client.far.send(GET)
    const backend = await unit.backend()
    await eventually(() => backend.far.received.endsWith('\r\n\r\n'), 'the request arrives')
    unit.clock.advance(4_999)
    assert.equal(client.far.received, '')
    unit.clock.advance(1)
    await eventually(() => statusOf(client.far.received) === '504', '504')
    await eventually(() => backend.far.gone, 'the backend is let go')
    assert.deepEqual(unit.told, ['outcome BACKEND_TIMEOUT', 'unavailable BACKEND_TIMEOUT'])
  })

  it('in the middle of an answer breaks it off, and every byte begins the time anew', async () => {
    await using unit = httpUnit({ http: { relayIdle: 5_000 } })
    const client = await unit.connect()
    client.far.send(GET)
    const backend = await unit.backend()
    backend.far.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1')
    for (const digit of ['2', '3']) {
      await eventually(() => client.far.received.endsWith(String(Number(digit) - 1)), 'what was sent arrives')
      unit.clock.advance(4_999)
      backend.far.send(digit)
      await eventually(() => client.far.received.endsWith(digit), 'the next byte arrives')
    }
    unit.clock.advance(4_999)
    assert.equal(client.far.gone, false)
    unit.clock.advance(1)
    await eventually(() => client.far.gone && backend.far.gone, 'both are closed')
    await client.over
    assert.deepEqual(unit.requests.map(({ status, code, bytesOut }) => [status, code, bytesOut]), [[200, 'BACKEND_TIMEOUT', 3]])
  })

  it('of the client in its body is 408, and not held against the backend', async () => {
    await using unit = httpUnit({ http: { relayIdle: 5_000 } })
    const client = await unit.connect()
    client.far.send(`${POST}12345`)
    const backend = await unit.backend()
    await eventually(() => backend.far.received.endsWith('12345'), 'half the body arrives')
    unit.clock.advance(5_000)
    await eventually(() => statusOf(client.far.received) === '408', '408')
    await eventually(() => backend.far.gone, 'the backend is let go')
    await eventually(() => unit.requests[0]?.code === 'CLIENT_TIMEOUT', 'it is told with the request')
    assert.deepEqual(unit.told.filter((what) => !what.startsWith('closed ')), [])
  })

  it('of the client in a body that is read for its account is 408 before anybody is dialled', async () => {
    await using unit = httpUnit({ http: { relayIdle: 5_000 } })
    const client = await unit.connect()
    client.far.send(POST.replace('/one', '/named'))
    await eventually(() => client.near.bytesRead > 0, 'the head arrives')
    await unit.clock.advanceAsync(5_000)
    await eventually(() => statusOf(client.far.received) === '408', '408')
    assert.equal(unit.dials.length, 0)
  })

  it('between events may last bridge_idle', async () => {
    await using unit = httpUnit({ http: { relayIdle: 5_000 }, server: { bridgeIdle: 60_000 } })
    const client = await unit.connect()
    client.far.send(GET)
    const backend = await unit.backend()
    backend.far.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nContent-Length: 100\r\n\r\ndata')
    await eventually(() => client.far.received.endsWith('data'), 'the first event')
    unit.clock.advance(59_999)
    assert.equal(client.far.gone, false)
    unit.clock.advance(1)
    await eventually(() => client.far.gone && backend.far.gone, 'both are closed')
  })
})

describe('back-pressure', () => {
  const piece = Buffer.alloc(65_536)

  it('a slow reader of an answer holds a bounded amount', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.socket.pause()
    client.far.send(GET)
    const backend = await unit.backend()
    backend.far.send(`HTTP/1.1 200 OK\r\nContent-Length: ${1_000 * piece.length}\r\n\r\n`)
    for (let i = 0; i < 1_000; i++) backend.far.socket.write(piece)
    const { near } = client
    let before = -1
    // Until nothing moves any more.
    for (let still = 0; still < 50; ) {
      await new Promise((resolve) => setImmediate(resolve))
      still = backend.near.bytesRead === before ? still + 1 : 0
      before = backend.near.bytesRead
    }
    assert.ok(backend.near.bytesRead < 500 * piece.length, 'the backend is stopped')
    // A piece that the system has begun to take counts to its end.
    const held = backend.near.bytesRead - (near.bytesWritten - near.writableLength)
    assert.ok(held < 4 * BRIDGE_BUFFER + piece.length, `${held} bytes held`)
  })

  it('a slow reader of a body holds no more than that', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(`POST /one HTTP/1.1\r\nHost: proxy\r\nContent-Length: ${1_000 * piece.length}\r\n\r\n`)
    const backend = await unit.backend()
    backend.far.socket.pause()
    for (let i = 0; i < 1_000; i++) client.far.socket.write(piece)
    const { near } = backend
    let before = -1
    for (let still = 0; still < 50; ) {
      await new Promise((resolve) => setImmediate(resolve))
      still = client.near.bytesRead === before ? still + 1 : 0
      before = client.near.bytesRead
    }
    assert.ok(client.near.bytesRead < 500 * piece.length, 'the client is stopped')
    // As above.
    const held = client.near.bytesRead - (near.bytesWritten - near.writableLength)
    assert.ok(held < 4 * BRIDGE_BUFFER + piece.length, `${held} bytes held`)
  })
})

describe('a client that leaves', () => {
  it('while its body is read for the account, while its backend is dialled, before and in its answer: all of it ends', async () => {
    for (const stage of ['body', 'dial', 'asked', 'answering'] as const) {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(stage === 'body' ? POST.replace('/one', '/named') : GET)
      if (stage === 'body') await eventually(() => client.near.bytesRead > 0, 'the head arrives')
      const dial = stage === 'body' ? undefined : await unit.nextDial()
      const backend = stage === 'dial' || stage === 'body' ? undefined : await dial?.succeed()
      if (backend !== undefined) await eventually(() => backend.far.received !== '', 'the request arrives')
      if (stage === 'answering') {
        backend?.far.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1')
        await eventually(() => client.far.received.endsWith('1'), 'the answer begins')
      }
      client.far.socket.destroy()
      await client.over
      if (stage === 'dial') assert.equal(dial?.cancel.aborted, true)
      if (backend !== undefined) await eventually(() => backend.far.gone, `the backend is let go while ${stage}`)
      await eventually(() => unit.requests.length === 1 && unit.open() === 0, `nothing is left while ${stage}`)
      assert.equal(unit.told.some((line) => line.startsWith('unavailable')), false, 'nobody is blamed')
    }
  })

  it('in the middle of its body is no trouble of anybody', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(`${POST}123`)
    const backend = await unit.backend()
    await eventually(() => backend.far.received.endsWith('123'), 'half the body arrives')
    client.far.socket.end()
    await client.over
    await eventually(() => backend.far.gone && unit.open() === 0, 'all is over')
    assert.deepEqual(unit.requests.map(({ code }) => code), ['CLIENT_CLOSED'])
    assert.deepEqual(unit.told.filter((line) => !line.startsWith('closed')), [])
  })
})

describe('a backend that leaves', () => {
  it('before its answer is 502, and the request is not sent again', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(GET)
    const backend = await unit.backend()
    await eventually(() => backend.far.received !== '', 'the request arrives')
    backend.far.socket.end()
    await eventually(() => statusOf(client.far.received) === '502', '502')
    assert.equal(unit.dials.length, 1)
    assert.deepEqual(unit.told, ['outcome BACKEND_CLOSED', 'unavailable BACKEND_CLOSED'])
  })

  for (const [title, head] of [
    ['in the middle of an answer of known length', 'Content-Length: 10\r\n\r\nabc'],
    ['in the middle of a chunked one', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'],
  ] as const) {
    it(`${title} leaves it incomplete for the client`, async () => {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(GET)
      const backend = await unit.backend()
      backend.far.send(`HTTP/1.1 200 OK\r\n${head}`)
      await eventually(() => client.far.received.includes('abc'), 'the answer begins')
      backend.far.socket.end()
      await eventually(() => client.far.gone, 'the client is closed')
      assert.equal(client.far.received.endsWith('0\r\n\r\n'), false)
      await client.over
      assert.deepEqual(unit.requests.map(({ status, code }) => [status, code]), [[200, 'BACKEND_CLOSED']])
    })
  }

  it('behind an answer that its end completes has completed it; a reset has not', async () => {
    for (const reset of [false, true]) {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(GET)
      const backend = await unit.backend()
      backend.far.send('HTTP/1.1 200 OK\r\n\r\nall')
      await eventually(() => client.far.received.includes('all'), 'the answer begins')
      if (reset) backend.far.socket.resetAndDestroy()
      else backend.far.socket.end()
      await eventually(() => client.far.gone || client.far.received.endsWith('0\r\n\r\n'), 'the answer ends')
      assert.equal(client.far.received.endsWith('0\r\n\r\n'), !reset)
    }
  })

  it('speaks before it is asked: 502, and nothing was sent', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(GET)
    const dial = await unit.nextDial()
    const backend = await dial.succeed()
    backend.far.send(OK)
    await eventually(() => client.far.received !== '', 'an answer')
    // Either it lay there before the request, or it came with it: then it is an answer like any other.
    assert.ok(statusOf(client.far.received) === '502' || backend.far.received.startsWith('GET /one '))
  })

  it('that answers before it has the body gets no more of it, and the client sees the answer', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(`${POST}123`)
    const backend = await unit.backend()
    await eventually(() => backend.far.received.endsWith('123'), 'half the body arrives')
    backend.far.send('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno')
    await eventually(() => client.far.received.endsWith('no'), 'the answer')
    await eventually(() => backend.far.gone, 'the backend is let go')
    assert.equal(client.far.gone, false, 'the rest of the body may still come')
    const waiting = unit.clock.pending
    unit.clock.advance(HTTP_LINGER_MS - 1)
    assert.equal(unit.clock.pending, waiting, 'it is still read')
    unit.clock.advance(1)
    await eventually(() => client.far.gone, 'not for ever')
  })

  for (const [title, more, answer] of [
    ['and ends the connection with its answer', '', 'HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno'],
    ['and hears something malformed', '\r\nzz\r\n', ''],
    ['and hears nothing more', '', ''],
  ] as const) {
    it(`that is left ${title} leaves nothing behind, when the client goes and when it stays`, async () => {
      for (const stays of [true, false]) {
        await using unit = httpUnit({ http: { relayIdle: 5_000 } })
        const timers = unit.clock.pending
        const client = await unit.connect()
        client.far.send('POST /one HTTP/1.1\r\nHost: proxy\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
        const backend = await unit.backend()
        await eventually(() => backend.far.received.endsWith('abc\r\n'), 'half the body arrives')
        if (more !== '') client.far.send(more)
        else if (answer !== '') backend.far.send(answer)
        else unit.clock.advance(5_000)
        await eventually(() => /^HTTP\/1\.1 40[018] /.test(client.far.received), 'the answer')
        if (!stays) client.far.socket.destroy()
        await eventually(() => unit.clock.pending > timers || unit.open() === 0, 'it is waited for')
        if (stays) unit.clock.advance(HTTP_LINGER_MS)
        await eventually(() => unit.requests.length === 1, 'the request is over')
        client.far.socket.destroy()
        await client.over
        assert.deepEqual([unit.open(), unit.clock.pending], [0, timers])
      }
    })
  }
})

describe('a kick', () => {
  it('before anything is sent is told as 503; afterwards the connection is broken off', async () => {
    for (const stage of ['resolve', 'dial', 'asked', 'answering'] as const) {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(MY_GET)
      await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
      if (stage !== 'resolve') await unit.box.source.answer('ann', 'one')
      const dial = stage === 'resolve' ? undefined : await unit.nextDial()
      const backend = stage === 'asked' || stage === 'answering' ? await dial?.succeed() : undefined
      if (backend !== undefined) await eventually(() => backend.far.received !== '', 'the request arrives')
      if (stage === 'answering') {
        backend?.far.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1')
        await eventually(() => client.far.received.endsWith('1'), 'the answer begins')
      }
      assert.equal(await unit.kick('ann'), 1, stage)
      if (stage === 'resolve' || stage === 'dial') await eventually(() => statusOf(client.far.received) === '503', `503 while ${stage}`)
      else await eventually(() => client.far.gone, `broken off while ${stage}`)
      if (stage === 'asked') assert.equal(client.far.received, '')
      if (backend !== undefined) await eventually(() => backend.far.gone, 'the backend is let go')
      assert.equal(await unit.kick('ann'), 0, 'it is over')
      assert.deepEqual(unit.requests.map(({ code }) => code), ['KICKED'])
    }
  })
})

describe('a request of an account', () => {
  it('waits while the account is held, and goes where it is then', async () => {
    await using unit = httpUnit()
    unit.box.actor.ref.tell({ type: 'hold', identifier: 'ann', id: 'h', ms: 10_000 })
    const client = await unit.connect()
    client.far.send(MY_GET)
    await eventually(() => unit.box.resolver.stats().held === 1, 'it waits')
    assert.equal(unit.dials.length, 0)
    unit.box.actor.ref.tell({ type: 'release', identifier: 'ann', id: 'h' })
    await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
    await unit.box.source.answer('ann', 'two')
    assert.equal((await unit.nextDial()).request.destination.name, 'two')
  })

  it('that is moved while its backend is dialled is never sent to the old one', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(MY_GET)
    await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
    await unit.box.source.answer('ann', 'one')
    const dial = await unit.nextDial()
    unit.box.invalidate('ann')
    const old = await dial.succeed()
    await eventually(() => unit.box.source.open.length > 0, 'the source is asked anew')
    await unit.box.source.answer('ann', 'two')
    const next = await unit.nextDial()
    assert.equal(next.request.destination.name, 'two')
    const backend = await next.succeed()
    await eventually(() => backend.far.received !== '', 'the request arrives')
    backend.far.send(OK)
    await eventually(() => client.far.received.endsWith('ok'), 'the answer')
    assert.equal(old.far.received, '')
  })

  it('whose credentials are refused is told so after the delay', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send(MY_GET)
    await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
    await unit.box.source.answer('ann', 'one')
    const backend = await unit.backend()
    backend.far.send('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno')
    await eventually(() => unit.told.includes('refused ann'), 'the refusal is reported')
    await unit.clock.advanceAsync(999)
    assert.equal(client.far.received, '')
    await unit.clock.advanceAsync(1)
    await eventually(() => client.far.received.endsWith('no'), 'the answer')
  })

  it("a backend that can't be reached: 502, 503 or 504, and nothing is left", async () => {
    for (const [code, status] of [['BACKEND_CONNECT', '502'], ['BACKEND_DOWN', '503'], ['BACKEND_FULL', '503'], ['BACKEND_TIMEOUT', '504']] as const) {
      await using unit = httpUnit()
      const client = await unit.connect()
      client.far.send(GET)
      ;(await unit.nextDial()).fail(new SignalboxError(code, 'no'))
      await eventually(() => statusOf(client.far.received) === status, status)
      assert.deepEqual(unit.told, [`unavailable ${code}`])
    }
  })

  it('counts its stages, its status and its bytes, what was read ahead included', async () => {
    await using unit = httpUnit()
    const client = await unit.connect()
    client.far.send('POST /named HTTP/1.1\r\nHost: proxy\r\nContent-Length: 8\r\n\r\nname=ann')
    await eventually(() => unit.box.source.open.length > 0, 'the source is asked')
    unit.clock.advance(20)
    await unit.box.source.answer('ann', 'one')
    const backend = await unit.backend()
    await eventually(() => backend.far.received.endsWith('name=ann'), 'the body arrives')
    unit.clock.advance(300)
    backend.far.send(OK)
    await eventually(() => unit.requests.length === 1, 'over')
    const { stages, responses, legs } = unit.counters.counts({ hits: 0, misses: 0, staleServed: 0, lookupFailures: 0, evictions: 0, invalidations: 0, audited: 0, auditStale: 0, entries: 0, held: 0, lookupsOpen: 0 }, 0)
    const sum = (name: string) => stages.find(({ stage }) => stage === name)?.durations.at(-1)
    assert.deepEqual([sum('resolve'), sum('first-byte'), sum('exchange')], [0.02, 0.3, 0.32])
    assert.deepEqual(responses, [{ destination: 'one', times: [0, 0, 1, 0, 0, 0] }])
    const [leg] = legs
    assert.deepEqual([leg?.destination, leg?.bytesIn, leg?.bytesOut, leg?.sessions, leg?.accepted], ['one', 8, 2, 0, 1])
  })
})
