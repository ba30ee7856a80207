/** A body: read ahead up to a bound, sent once, in one piece with what was read, no faster than it is taken. */
import assert from 'node:assert/strict'
import { PassThrough, Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, it } from 'node:test'
import { Halt } from '../../../src/destination/halt.ts'
import { RequestBody } from '../../../src/session/http/request-body.ts'
import { Traffic } from '../../../src/session/http/traffic.ts'
import { FakeClock } from '../../support/fake-clock.ts'

function sink(most = 16_384): { readonly to: Writable; readonly took: () => string; readonly take: () => void } {
  const chunks: Buffer[] = []
  let waiting: (() => void) | undefined
  const to = new Writable({
    highWaterMark: most,
    write: (chunk: Buffer, _, done) => {
      chunks.push(chunk)
      waiting = done
    },
  })
  const take = (): void => {
    const done = waiting
    waiting = undefined
    done?.()
  }
  return { to, took: () => Buffer.concat(chunks).toString(), take }
}

describe('a request body', () => {
  it('is read ahead as far as is wanted, a piece more, and goes on whole', async () => {
    const source = new PassThrough()
    const body = new RequestBody({ body: source, ended: false, cut: false })
    let moved = 0
    const ahead = body.ahead(6, new Halt(), (bytes) => (moved += bytes))
    source.write('1234')
    await turn()
    source.write('5678')
    assert.equal((await ahead).toString(), '123456')
    assert.equal(moved, 8)
    assert.equal(source.isPaused(), true)
    const traffic = new Traffic(new FakeClock(), () => {})
    const { to, took, take } = sink()
    let ended = false
    body.sendTo(to, traffic, () => (ended = true))
    source.end('90')
    for (let i = 0; i < 5; i++) {
      await turn()
      take()
    }
    assert.equal(took(), '1234567890')
    assert.deepEqual([ended, body.complete, traffic.bytesIn], [true, true, 2])
  })

  it('that ends before it is read as far is complete', async () => {
    const source = new PassThrough()
    const body = new RequestBody({ body: source, ended: false, cut: false })
    const ahead = body.ahead(100, new Halt(), () => {})
    source.end('short')
    assert.equal((await ahead).toString(), 'short')
    assert.equal(body.complete, true)
  })

  it('that is read ahead is given up with the reason', async () => {
    const source = new PassThrough()
    const body = new RequestBody({ body: source, ended: false, cut: false })
    const halt = new Halt()
    const ahead = body.ahead(100, halt, () => {})
    halt.now(new Error('kicked'))
    await assert.rejects(ahead, /kicked/)
    assert.equal(source.listenerCount('data'), 0)
  })

  it('is read no faster than it is taken, and it is not the client who is waited for then', async () => {
    const source = new PassThrough({ highWaterMark: 4 })
    const body = new RequestBody({ body: source, ended: false, cut: false })
    const { to, take } = sink(4)
    body.sendTo(to, new Traffic(new FakeClock(), () => {}), () => {})
    assert.equal(body.starved, true)
    source.write('12345678')
    await turn()
    assert.equal(source.isPaused(), true)
    assert.equal(body.starved, false)
    take()
    await turn()
    assert.equal(source.isPaused(), false)
    assert.equal(body.starved, true)
  })

  it('is sent once', () => {
    const body = new RequestBody({ body: new PassThrough(), ended: false, cut: false })
    const traffic = new Traffic(new FakeClock(), () => {})
    body.sendTo(sink().to, traffic, () => {})
    assert.throws(() => body.sendTo(sink().to, traffic, () => {}), { code: 'INTERNAL' })
  })

  it('that nobody wants is dropped to its end, and the backend gets no more of it', async () => {
    const source = new PassThrough()
    const body = new RequestBody({ body: source, ended: false, cut: false })
    const { to, took, take } = sink()
    body.sendTo(to, new Traffic(new FakeClock(), () => {}), () => {})
    source.write('first')
    await turn()
    take()
    let through = false
    body.drop(() => (through = true))
    source.end('second')
    await turn()
    await turn()
    assert.deepEqual([took(), through, body.complete], ['first', true, true])
  })
})
