import assert from 'node:assert/strict'
import { test } from 'node:test'
import { spawn } from '../../src/actor/actor.ts'
import type { ActorOptions, Behaviour, RunningActor } from '../../src/actor/actor.ts'
import type { Message, Question, Reply } from '../../src/actor/message.ts'
import { SignalboxError } from '../../src/errors.ts'
import { MAILBOX } from '../../src/limits.ts'
import { FakeClock } from '../support/fake-clock.ts'

interface Note extends Message {
  readonly type: 'note'
  readonly text: string
}
/** Runs what it carries within the handler. */
interface Run extends Message {
  readonly type: 'run'
  readonly run: () => void
}
interface Ask extends Question<string> {
  readonly type: 'ask'
}
/** Keeps the reply for the test. */
interface Later extends Question<string> {
  readonly type: 'later'
}
type Words = Note | Run | Ask | Later

class Notebook implements Behaviour<Words> {
  readonly notes: string[] = []
  readonly overflowed: string[] = []
  readonly replies: Reply[] = []
  depth = 0
  deepest = 0
  mends = true

  receive(message: Words, reply: Reply): void {
    this.depth++
    this.deepest = Math.max(this.deepest, this.depth)
    try {
      if (message.type === 'note') this.notes.push(message.text)
      else if (message.type === 'run') message.run()
      else if (message.type === 'ask') reply.to(message, `${this.notes.length} notes`)
      else this.replies.push(reply)
    } finally {
      this.depth--
    }
  }

  overflow(message: Words): void {
    this.overflowed.push(message.type === 'note' ? message.text : message.type)
  }

  crashed(error: SignalboxError): void {
    if (!this.mends) throw error
    this.notes.length = 0
  }
}

const note = (text: string): Note => ({ type: 'note', text })

function notebook(options: Partial<ActorOptions> = {}): { book: Notebook; actor: RunningActor<Words>; clock: FakeClock } {
  const book = new Notebook()
  const clock = new FakeClock()
  return { book, clock, actor: spawn<Words>(book, { name: 'notebook', clock, ...options }) }
}

const boom = (): void => {
  throw new SignalboxError('FRAME_INVALID', 'boom')
}

test('a message to an idle actor is handled in the turn of its sender', () => {
  const { book, actor } = notebook()
  actor.ref.tell(note('one'))
  assert.deepEqual(book.notes, ['one'])
})

test('messages sent from within a handler wait for its end and keep their order: no handler is entered twice', () => {
  const { book, actor } = notebook()
  actor.ref.tell({
    type: 'run',
    run: () => {
      actor.ref.tell({ type: 'run', run: () => actor.ref.tell(note('c')) })
      actor.ref.tell(note('a'))
      actor.ref.tell(note('b'))
      assert.deepEqual(book.notes, [])
    },
  })
  assert.deepEqual(book.notes, ['a', 'b', 'c'])
  assert.equal(book.deepest, 1)
})

test('a full mailbox answers the next message with ACTOR_MAILBOX_FULL, tells the behaviour, and counts it', async () => {
  const { book, actor, clock } = notebook({ bound: 3 })
  let refused: Promise<string> | undefined
  actor.ref.tell({
    type: 'run',
    run: () => {
      for (const text of ['1', '2', '3']) actor.ref.tell(note(text))
      assert.deepEqual(book.overflowed, [], 'three messages fit a bound of three')
      actor.ref.tell(note('4'))
      refused = actor.ref.ask({ type: 'ask' }, 1_000)
    },
  })
  await assert.rejects(refused ?? Promise.resolve(), { code: 'ACTOR_MAILBOX_FULL', retryable: true })
  assert.deepEqual(book.notes, ['1', '2', '3'])
  assert.deepEqual(book.overflowed, ['4', 'ask'])
  assert.deepEqual(actor.counters, { waiting: 0, highWater: 3, accepted: 4, refused: 2, crashes: 0 })
  assert.equal(clock.pending, 0)
})

test('a mailbox of which nothing else is said has room for N messages, and none for N + 1', () => {
  const { book, actor } = notebook()
  actor.ref.tell({
    type: 'run',
    run: () => {
      for (let index = 0; index < MAILBOX; index++) actor.ref.tell(note(''))
      assert.equal(book.overflowed.length, 0)
      actor.ref.tell(note('one too many'))
    },
  })
  assert.equal(book.notes.length, MAILBOX)
  assert.deepEqual(book.overflowed, ['one too many'])
})

test('a crash is counted, told, answered, and the next message is handled with the state that the behaviour restored', async () => {
  const crashes: unknown[] = []
  const { book, actor } = notebook({ onCrash: (name, type, error) => crashes.push([name, type, error.message]) })
  actor.ref.tell(note('lost'))
  actor.ref.tell({ type: 'run', run: boom })
  assert.equal(await actor.ref.ask({ type: 'ask' }, 1_000), '0 notes')
  assert.deepEqual(crashes, [['notebook', 'run', 'boom']])
  assert.equal(actor.counters.crashes, 1)
  assert.equal(book.depth, 0)
})

test('whoever asked the question that crashed gets the error, and what waited behind it is handled', async () => {
  const { actor } = notebook()
  const answers: Promise<string>[] = []
  actor.ref.tell({
    type: 'run',
    run: () => {
      answers.push(actor.ref.ask({ type: 'ask' }, 1_000))
      boom()
    },
  })
  assert.deepEqual(await Promise.all(answers), ['0 notes'])

  class Fragile implements Behaviour<Ask> {
    receive(): void {
      throw new TypeError('a defect')
    }
    crashed(): void {}
  }
  const fragile = spawn<Ask>(new Fragile(), { name: 'fragile', clock: new FakeClock() })
  await assert.rejects(fragile.ref.ask({ type: 'ask' }, 1_000), { code: 'INTERNAL', message: 'a defect' })
})

test('a behaviour that cannot mend itself ends the process, and its sender is none the wiser', async () => {
  const ends: unknown[] = []
  const { book, actor } = notebook({ fatal: (error) => ends.push(error) })
  book.mends = false
  let waiting: Promise<string> | undefined
  // Nothing is thrown here: a sender that catches would otherwise live on beside an actor without a state.
  actor.ref.tell({
    type: 'run',
    run: () => {
      actor.ref.tell(note('never'))
      waiting = actor.ref.ask({ type: 'ask' }, 1_000)
      boom()
    },
  })
  await assert.rejects(waiting ?? Promise.resolve(), { code: 'ACTOR_GONE' })
  assert.equal(ends.length, 1)
  assert.deepEqual(book.notes, [])
  await assert.rejects(actor.ref.ask({ type: 'ask' }, 1_000), { code: 'ACTOR_GONE' })
})

test('a question without an answer fails at its deadline and not a millisecond before; an answer after it is ignored', async () => {
  const { book, actor, clock } = notebook()
  const outcomes: string[] = []
  const asked = actor.ref.ask({ type: 'later' }, 500).then(
    (answer) => outcomes.push(answer),
    (error: SignalboxError) => outcomes.push(error.code),
  )
  await clock.advanceAsync(499)
  assert.deepEqual(outcomes, [])
  assert.equal(book.replies[0]?.wanted, true)
  clock.advance(1)
  await asked
  assert.deepEqual(outcomes, ['ACTOR_DEADLINE'])
  assert.equal(book.replies[0]?.wanted, false)
  book.replies[0]?.to<Later>({ type: 'later' }, 'too late')
  assert.deepEqual(outcomes, ['ACTOR_DEADLINE'])
})

test('the first of several answers counts, and no timer is left behind', async () => {
  const { book, actor, clock } = notebook()
  const asked = actor.ref.ask({ type: 'later' }, 500)
  book.replies[0]?.to<Later>({ type: 'later' }, 'first')
  book.replies[0]?.to<Later>({ type: 'later' }, 'second')
  book.replies[0]?.fail(new Error('third'))
  assert.equal(await asked, 'first')
  assert.equal(clock.pending, 0)
})

test('a question that is given up rejects with the reason and is no longer wanted', async () => {
  const { book, actor, clock } = notebook()
  const cancel = new AbortController()
  const asked = actor.ref.ask({ type: 'later' }, 500, cancel.signal)
  cancel.abort(new SignalboxError('CLIENT_CLOSED', 'gone'))
  await assert.rejects(asked, { code: 'CLIENT_CLOSED' })
  assert.equal(book.replies[0]?.wanted, false)
  assert.equal(clock.pending, 0)
  await assert.rejects(actor.ref.ask({ type: 'later' }, 500, cancel.signal), { code: 'CLIENT_CLOSED' })
  assert.equal(book.replies.length, 1, 'a question that was given up before it was asked is not delivered')
})

test('a stopped actor fails what waits and what comes, and stopping twice is stopping once', async () => {
  const { book, actor } = notebook()
  let waiting: Promise<string> | undefined
  actor.ref.tell({
    type: 'run',
    run: () => {
      waiting = actor.ref.ask({ type: 'ask' }, 1_000)
      actor.stop()
      actor.stop()
    },
  })
  await assert.rejects(waiting ?? Promise.resolve(), { code: 'ACTOR_GONE' })
  actor.ref.tell(note('unheard'))
  await assert.rejects(actor.ref.ask({ type: 'ask' }, 1_000), { code: 'ACTOR_GONE' })
  assert.deepEqual(book.notes, [])
})
