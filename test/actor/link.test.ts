import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { spawn } from '../../src/actor/actor.ts'
import type { Behaviour } from '../../src/actor/actor.ts'
import { joinFrames, splitFrames } from '../../src/actor/batch.ts'
import { encodeFrame } from '../../src/actor/frame.ts'
import { Link } from '../../src/actor/link.ts'
import type { Reply } from '../../src/actor/message.ts'
import { systemClock } from '../../src/clock.ts'
import { SignalboxError } from '../../src/errors.ts'
import { FRAME } from '../../src/limits.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually } from '../support/settled.ts'
import type { EchoMessage, Silence } from './fixtures/echo.ts'
import { Echo } from './fixtures/echo.ts'

/** Two links whose channel delivers a batch in a later turn, as the IPC does. */
function pair(clock = new FakeClock()) {
  const batches: number[] = []
  const invalid: string[] = []
  let connected = true
  const onInvalid = (error: SignalboxError): void => void invalid.push(error.message)
  const to = (other: () => Link) => (frames: Uint8Array) => {
    if (!connected) return false
    let count = 0
    splitFrames(frames, () => count++)
    batches.push(count)
    setImmediate(() => other().receive(frames))
    return true
  }
  const near: Link = new Link({ clock, onInvalid, send: to(() => far) })
  const far: Link = new Link({ clock, onInvalid, send: to(() => near) })
  const echo = new Echo()
  const actor = spawn<EchoMessage>(echo, { name: 'echo', clock })
  far.export('mapping', actor.ref)
  return { near, far, echo, actor, clock, batches, invalid, ref: near.remote<EchoMessage>('mapping'), cut: () => (connected = false) }
}

test('what is sent in one turn arrives as one batch and in order', async () => {
  const { ref, echo, batches } = pair()
  for (let number = 0; number < 100; number++) ref.tell({ type: 'note', text: String(number) })
  await eventually(() => echo.notes.length === 100, 'all notes arrive')
  assert.deepEqual(echo.notes, Array.from({ length: 100 }, (_, number) => String(number)))
  assert.deepEqual(batches, [100])
})

test('flush sends at once, and what is sent after it leaves by itself', async () => {
  const { near, ref, echo, batches } = pair()
  ref.tell({ type: 'note', text: 'a' })
  near.flush()
  assert.deepEqual(batches, [1])
  ref.tell({ type: 'note', text: 'b' })
  await eventually(() => echo.notes.length === 2, 'both arrive')
})

test('questions are answered each with its own answer, in whatever order the answers come', async () => {
  const { ref, near } = pair()
  const answers = await Promise.all(['a', 'b', 'c'].map((text) => ref.ask({ type: 'echo', payload: text }, 1_000)))
  assert.deepEqual(answers, ['a', 'b', 'c'])
  assert.equal(near.open, 0)
})

test('an error crosses with its code and words and loses its cause', async () => {
  const { ref } = pair()
  await assert.rejects(ref.ask({ type: 'fail', code: 'SOURCE_CONFLICT' }, 1_000), (error: SignalboxError) => {
    assert.deepEqual([error.code, error.message, error.cause], ['SOURCE_CONFLICT', 'as you like', undefined])
    return true
  })
})

test('names of prototype properties come through as payload keys', async () => {
  const { ref } = pair()
  const payload = { constructor: 'c', toString: 't', nested: { hasOwnProperty: 1 } }
  assert.deepEqual(await ref.ask({ type: 'echo', payload }, 1_000), payload)
})

test('open questions fail with ACTOR_GONE when the channel closes, later ones at once, and no timer stays', async () => {
  const { near, ref, clock } = pair()
  const open = ref.ask({ type: 'silence' }, 1_000)
  assert.equal(near.open, 1)
  near.close()
  near.close()
  await assert.rejects(open, { code: 'ACTOR_GONE' })
  await assert.rejects(ref.ask({ type: 'echo', payload: 1 }, 1_000), { code: 'ACTOR_GONE' })
  ref.tell({ type: 'note', text: 'unheard' })
  assert.equal(clock.pending, 0)
  assert.equal(near.open, 0)
})

test('a channel that takes no more frames closes the link', async () => {
  const { ref, cut } = pair()
  cut()
  await assert.rejects(ref.ask({ type: 'echo', payload: 1 }, 1_000), { code: 'ACTOR_GONE' })
})

test('an answer that is late finds nobody, and does not answer the next question', async () => {
  const { ref, echo, clock, near, invalid } = pair()
  const first = ref.ask({ type: 'silence' }, 100)
  await eventually(() => echo.silent.length === 1, 'the question arrives')
  const rejected = assert.rejects(first, { code: 'ACTOR_DEADLINE' })
  clock.advance(100)
  await rejected
  const second = ref.ask({ type: 'silence' }, 100)
  await eventually(() => echo.silent.length === 2, 'the second question arrives')
  echo.silent[0]?.to<Silence>({ type: 'silence' }, 'late')
  for (let turns = 0; turns < 5; turns++) await turn()
  assert.equal(near.open, 1)
  echo.silent[1]?.to<Silence>({ type: 'silence' }, 'in time')
  assert.equal(await second, 'in time')
  assert.deepEqual(invalid, [])
})

test('a question that is given up leaves neither timer nor place behind', async () => {
  const { ref, near, clock } = pair()
  const cancel = new AbortController()
  const asked = ref.ask({ type: 'silence' }, 1_000, cancel.signal)
  cancel.abort(new SignalboxError('KICKED', 'kicked'))
  await assert.rejects(asked, { code: 'KICKED' })
  assert.equal(near.open, 0)
  assert.equal(clock.pending, 0)
})

test('a question that no frame can carry is refused where it is asked; an answer that none can carry fails the question', async () => {
  const { ref, near, invalid } = pair()
  await assert.rejects(ref.ask({ type: 'echo', payload: 2n ** 70n }, 1_000), { code: 'FRAME_INVALID' })
  await assert.rejects(ref.ask({ type: 'echo', payload: Buffer.alloc(FRAME) }, 1_000), { code: 'FRAME_INVALID' })
  assert.equal(near.open, 0)
  await assert.rejects(ref.ask({ type: 'large', bytes: FRAME }, 1_000), { code: 'FRAME_INVALID' })
  assert.equal(invalid.length, 1, 'the one that could not answer tells its operator')
  ref.tell({ type: 'note', text: 'x'.repeat(FRAME) })
  assert.equal(invalid.length, 2, 'a tell that cannot be sent is not silently lost')
})

test('frames that cannot be used are counted and told, and those beside them are used', () => {
  const { far, echo, invalid } = pair()
  const tell = (payload: unknown, target = 3): Buffer => encodeFrame({ kind: 'tell', target, correlation: 0, payload })
  far.receive(joinFrames([
    Buffer.from('garbage'),
    tell({ type: 'note', text: 'a' }),
    tell('no message'),
    tell({ type: 7 }),
    tell({ type: 'note', text: 'to nobody' }, 99),
    encodeFrame({ kind: 'answer', target: 3, correlation: 77, payload: 'unasked' }),
    tell({ type: 'note', text: 'b' }),
  ]))
  assert.deepEqual(echo.notes, ['a', 'b'])
  assert.equal(invalid.length, 4)
  assert.equal(far.counters.invalid, 4)
  assert.equal(far.counters.received, 7)
})

test('a question to an actor that the other side does not have fails at once rather than at its deadline', async () => {
  const { near } = pair()
  await assert.rejects(near.remote<EchoMessage>('health').ask({ type: 'silence' }, 1_000), { code: 'FRAME_INVALID' })
})

test('an actor whose end is the end of the process is not mistaken for an invalid frame', async () => {
  class Irreplaceable implements Behaviour<EchoMessage> {
    receive(_message: EchoMessage, _reply: Reply): void {
      throw new TypeError('a defect')
    }
    crashed(error: SignalboxError): void {
      throw error
    }
  }
  const { near, far, clock, invalid } = pair()
  const ends: unknown[] = []
  far.export('limits', spawn<EchoMessage>(new Irreplaceable(), { name: 'limits', clock, fatal: (error) => ends.push(error) }).ref)
  near.remote<EchoMessage>('limits').tell({ type: 'note', text: 'x' })
  await eventually(() => ends.length === 1, 'the end is announced')
  assert.deepEqual(invalid, [])
})

test('between two real processes: order, answers, errors, bytes, and ACTOR_GONE when the other one is killed', async () => {
  const child = fork(fileURLToPath(new URL('fixtures/echo.ts', import.meta.url)), ['child'], { serialization: 'advanced' })
  const invalid: SignalboxError[] = []
  const link = new Link({
    clock: systemClock,
    onInvalid: (error) => invalid.push(error),
    send: (frames) => child.connected && (child.send({ frames }), true),
  })
  child.on('message', ({ frames }: { frames: Uint8Array }) => link.receive(frames))
  child.on('disconnect', () => link.close())
  const ref = link.remote<EchoMessage>('mapping')
  try {
    for (let number = 0; number < 1_000; number++) ref.tell({ type: 'note', text: String(number) })
    const notes = await ref.ask({ type: 'notes' }, 30_000)
    assert.deepEqual(notes, Array.from({ length: 1_000 }, (_, number) => String(number)))
    const payload = { bytes: Buffer.from([0, 255, 10]), text: 'é\u0000', none: null, big: 2 ** 41 + 1, constructor: 'c' }
    assert.deepEqual(await ref.ask({ type: 'echo', payload }, 30_000), payload)
    await assert.rejects(ref.ask({ type: 'fail', code: 'SOURCE_WRITE' }, 30_000), { code: 'SOURCE_WRITE' })
    const large = Buffer.alloc(4 * 1024 * 1024, 7)
    assert.deepEqual(await ref.ask({ type: 'echo', payload: large }, 30_000), large)
    const unanswered = assert.rejects(ref.ask({ type: 'silence' }, 30_000), { code: 'ACTOR_GONE' })
    // Not before the question is there.
    await ref.ask({ type: 'notes' }, 30_000)
    child.kill('SIGKILL')
    await unanswered
    assert.deepEqual(invalid, [])
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
})
