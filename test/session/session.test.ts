import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { SignalboxError } from '../../src/errors.ts'
import { LAST_WORDS_MS } from '../../src/limits.ts'
import { eventually } from '../support/settled.ts'
import { FewWords, sessionRig } from './rig.ts'
import type { FakeBackend, SessionRig } from './rig.ts'

// ---- the way through ----

test('a login goes through resolve, dial, replay and bridge in this order, and its closing report says what happened', async () => {
  const rig = await sessionRig()
  await eventually(() => rig.client.received === 'HELLO\n', 'the greeting')
  rig.client.send('LOGIN a secret\n')
  await eventually(() => rig.box.source.open.length === 1, 'resolve')
  assert.equal(rig.session.account, 'a')
  assert.equal(rig.dials.length, 0, 'nothing is dialled before the route is known')
  await rig.box.source.answer('a', 'two')
  await eventually(() => rig.dials.length === 1, 'dial')
  assert.equal(rig.dials[0]?.request.destination.name, 'two')
  const backend = await rig.dials[0].succeed()
  await eventually(() => backend.replaying, 'replay')
  assert.equal(rig.session.bridgedTo, undefined)
  backend.accept('OK at last\n')
  await eventually(() => rig.client.received === 'HELLO\nOK at last\n', 'the backend’s words')
  assert.equal(rig.session.bridgedTo, 'two')
  rig.client.send('question')
  await eventually(() => backend.server.received === 'question', 'client to backend')
  backend.server.send('an answer')
  await eventually(() => rig.client.received.endsWith('an answer'), 'backend to client')
  rig.box.clock.advance(5_000)
  rig.client.socket.end()
  await eventually(() => backend.server.ended, 'the half-close is passed on')
  backend.server.socket.end()
  const { reason, bytesIn, bytesOut, seconds, login, error } = await rig.ends()
  assert.deepEqual([reason, bytesIn, bytesOut, seconds, error], ['client', 8, 9, 5, undefined])
  assert.deepEqual([login?.account, login?.destination, login?.attempt], ['a', 'two', 1])
  assert.deepEqual(rig.told, ['accepted a two', 'closed client'])
})

test('bytes that came behind the login go to the backend once, after it has accepted', async () => {
  const rig = await sessionRig()
  rig.client.send('LOGIN a secret\nfirst ')
  await eventually(() => rig.box.source.open.length === 1, 'resolve')
  await rig.box.source.answer('a', 'one')
  await eventually(() => rig.dials.length === 1, 'dial')
  rig.client.send('second ')
  const backend = (await rig.dials[0]?.succeed()) as FakeBackend
  await eventually(() => backend.replaying, 'replay')
  assert.equal(backend.server.received, '')
  backend.accept()
  await eventually(() => rig.client.received.endsWith('OK welcome\n'), 'accepted')
  rig.client.send('third')
  await eventually(() => backend.server.received.endsWith('third'), 'all of it')
  assert.equal(backend.server.received, 'first second third')
  await rig.kick('a')
  await rig.ends()
})

test('a login that names no account goes to the default destination and is nobody’s session', async () => {
  const rig = await sessionRig()
  const backend = await rig.toBridge('nobody')
  assert.equal(backend.request.destination.name, 'legacy')
  assert.equal(await rig.kick('nobody'), 0)
  backend.server.socket.destroy()
  rig.client.socket.destroy()
  assert.equal((await rig.ends()).login?.account, undefined)
})

test('a refusal is answered after the delay, and the next login of the connection may be another account’s', async () => {
  const rig = await sessionRig()
  const first = await rig.toReplay('a')
  first.refuse()
  await eventually(() => first.destroyed, 'the backend of a refused login is closed')
  for (let turns = 0; turns < 3; turns++) await turn()
  rig.box.clock.advance(999)
  assert.equal(rig.client.received, 'HELLO\n')
  assert.equal(await rig.kick('a'), 0, 'the session is no longer the account’s')
  rig.box.clock.advance(1)
  await eventually(() => rig.client.received === 'HELLO\nNO\n', 'the refusal')
  const second = await rig.toBridge('b')
  assert.deepEqual([first.logins, second.logins], [['a'], ['b']])
  assert.deepEqual(rig.told, ['refused a one', 'accepted b one'])
  assert.deepEqual(rig.facts.map(({ attempt }) => attempt), [1, 2])
  assert.equal(await rig.kick('b'), 1)
  assert.equal((await rig.ends()).reason, 'kicked')
})

test('the last refusal closes the connection once it was told', async () => {
  const rig = await sessionRig()
  for (let attempt = 1; attempt <= 3; attempt++) {
    const backend = await rig.toReplay('a')
    backend.refuse()
    await eventually(() => backend.destroyed, 'refused')
    for (let turns = 0; turns < 3; turns++) await turn()
    rig.box.clock.advance(1_000)
    await eventually(() => rig.client.received === `HELLO\n${'NO\n'.repeat(attempt)}`, 'the refusal')
  }
  const { reason, error } = await rig.ends()
  assert.deepEqual([reason, error?.code], ['error', 'CLIENT_TOO_MANY_ATTEMPTS'])
})

test('trouble of any kind is a temporary failure that keeps the dialogue', async () => {
  const rig = await sessionRig({ services: { admit: (destination) => destination !== 'two' } })
  const down = new SignalboxError('BACKEND_CONNECT', 'refused')
  const laters = (count: number) => eventually(() => rig.client.received === `HELLO\n${'LATER\n'.repeat(count)}`, `LATER ${count}`)
  ;(await rig.toDial('a')).fail(down)
  await laters(1)
  const backend = await rig.toReplay('a')
  backend.fail(new SignalboxError('BACKEND_REPLAY_TIMEOUT', 'slow'))
  await laters(2)
  rig.client.send('LOGIN b x\n')
  await eventually(() => rig.box.source.open.length === 1, 'resolve')
  await rig.box.source.fail('b')
  await laters(3)
  rig.client.send('LOGIN c x\n')
  await eventually(() => rig.box.source.open.length === 1, 'resolve')
  await rig.box.source.answer('c', 'two')
  await laters(4)
  assert.deepEqual(rig.told, [
    'unavailable a one BACKEND_CONNECT',
    'unavailable a one BACKEND_REPLAY_TIMEOUT',
    'unavailable b - ROUTE_UNAVAILABLE',
    'unavailable c two BACKEND_DOWN',
  ])
  await rig.toBridge('d')
  await rig.kick('d')
  await rig.ends()
})

test('a name that can be no account’s is refused like a wrong password: held back, counted, the last one final, and nobody is asked', async () => {
  const rig = await sessionRig()
  for (let attempt = 1; attempt <= 3; attempt++) {
    rig.client.send('LOGIN bad"name x\n')
    await eventually(() => rig.told.filter((line) => line === 'refused - - identifier').length === attempt, 'it is told')
    for (let turns = 0; turns < 3; turns++) await turn()
    rig.box.clock.advance(999)
    assert.equal(rig.client.received, `HELLO\n${'NO\n'.repeat(attempt - 1)}`)
    rig.box.clock.advance(1)
    await eventually(() => rig.client.received === `HELLO\n${'NO\n'.repeat(attempt)}`, 'the refusal')
  }
  assert.equal((await rig.ends()).error?.code, 'CLIENT_TOO_MANY_ATTEMPTS')
  assert.deepEqual([rig.dials.length, rig.box.source.open.length], [0, 0])
})

test('a challenge is relayed, the client’s answer goes back, and a refusal after it is a refusal', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay('a')
  backend.challenge('why')
  await eventually(() => rig.client.received.endsWith('ASK why\n'), 'the challenge')
  rig.client.send('because\n')
  await eventually(() => backend.answers.length === 1, 'the answer')
  backend.challenge('really')
  await eventually(() => rig.client.received.endsWith('ASK really\n'), 'the second challenge')
  rig.client.send('*\n')
  await eventually(() => backend.answers.length === 2, 'the cancellation')
  assert.deepEqual(backend.answers, ['because', undefined])
  backend.refuse()
  await eventually(() => rig.told.includes('refused a one'), 'the refusal')
  rig.client.socket.resetAndDestroy()
  await rig.ends()
})

test('a client that never answers a challenge is timed out', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay('a')
  backend.challenge('why')
  await eventually(() => rig.client.received.endsWith('ASK why\n'), 'the challenge')
  rig.box.clock.advance(29_999)
  assert.equal(rig.closed, undefined)
  rig.box.clock.advance(1)
  const { reason, error } = await rig.ends()
  assert.deepEqual([reason, error?.code], ['error', 'CLIENT_TIMEOUT'])
  assert.ok(rig.client.received.endsWith('BYE timeout\n'))
})

test('commands in a row behind a login that fails are dealt with in order, to the end of the dialogue', async () => {
  const rig = await sessionRig()
  rig.client.send('LOGIN a x\nLOGIN b y\nNONSENSE\nQUIT\n')
  for (const name of ['a', 'b']) {
    await eventually(() => rig.box.source.open.length === 1, 'resolve')
    await rig.box.source.fail(name)
  }
  const { reason, error } = await rig.ends()
  assert.deepEqual([reason, error], ['logout', undefined])
  await eventually(() => rig.client.ended, 'the end')
  assert.equal(rig.client.received, 'HELLO\nLATER\nLATER\nWHAT\nBYE\n')
})

// ---- the route overtaken ----

test('a route that was overtaken during the login is not bridged: the backend is closed, the client told to come again', async () => {
  for (const type of ['account', 'all'] as const) {
    const rig = await sessionRig()
    const backend = await rig.toReplay('a')
    if (type === 'account') rig.box.invalidate('a')
    else rig.box.actor.ref.tell({ type: 'invalidate-all' })
    backend.accept()
    await eventually(() => rig.client.received === 'HELLO\nLATER\n', 'the temporary failure')
    assert.deepEqual(rig.told, ['unavailable a one ROUTE_VOID'])
    assert.ok(backend.destroyed)
    assert.equal(backend.server.received, '')
    rig.client.socket.destroy()
    await rig.ends()
  }
})

test('an invalidation between the last look and the hand-over still counts: both are one turn', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay('a')
  backend.accept()
  // Lands among the microtasks that lead from the backend's answer to the bridge, at every possible place.
  const invalidateAfter = (ticks: number): void => {
    if (ticks > 0) queueMicrotask(() => invalidateAfter(ticks - 1))
    else if (rig.session.bridgedTo === undefined) rig.box.invalidate('a')
  }
  invalidateAfter(1)
  await eventually(() => rig.client.received === 'HELLO\nLATER\n', 'the temporary failure')
  rig.client.socket.destroy()
  await rig.ends()

  for (let ticks = 0; ticks < 12; ticks++) {
    const other = await sessionRig()
    const near = await other.toReplay('a')
    let overtaken = false
    const later = (left: number): void => {
      if (left > 0) return queueMicrotask(() => later(left - 1))
      if (other.session.bridgedTo !== undefined) return
      overtaken = true
      other.box.invalidate('a')
    }
    near.accept()
    later(ticks)
    await eventually(() => other.client.received !== 'HELLO\n', 'an answer')
    assert.equal(other.client.received, overtaken ? 'HELLO\nLATER\n' : 'HELLO\nOK welcome\n', `after ${ticks} microtasks`)
    other.client.socket.destroy()
    near.server.socket.destroy()
    await other.ends()
  }
})

test('a doubtful route is looked up again before the bridge, and taken only when it leads to the same destination', async () => {
  for (const [again, answer] of [['one', 'OK welcome\n'], ['two', 'LATER\n'], [undefined, 'LATER\n']] as const) {
    const rig = await sessionRig()
    const backend = await rig.toReplay('a')
    rig.box.actor.ref.tell({ type: 'doubt', reason: 'a gap' })
    backend.accept()
    await eventually(() => rig.box.source.open.length === 1, 'the second lookup')
    assert.equal(rig.client.received, 'HELLO\n')
    await rig.box.source.answer('a', again)
    await eventually(() => rig.client.received === `HELLO\n${answer}`, 'the answer')
    rig.client.socket.resetAndDestroy()
    await rig.ends()
  }
})

test('a doubtful route whose source is away is taken: doubt never refuses an account', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay('a')
  rig.box.actor.ref.tell({ type: 'doubt', reason: 'a gap' })
  backend.accept()
  await eventually(() => rig.box.source.open.length === 1, 'the second lookup')
  await rig.box.source.fail('a')
  await eventually(() => rig.client.received === 'HELLO\nOK welcome\n', 'let in')
  rig.client.socket.resetAndDestroy()
  await rig.ends()
})

test('a backend that breaks between its answer and the hand-over costs the attempt, not the dialogue', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay('a')
  backend.accept()
  backend.pair.near.destroy()
  await eventually(() => rig.client.received === 'HELLO\nLATER\n', 'the temporary failure')
  assert.deepEqual(rig.told, ['unavailable a one BACKEND_CLOSED'])
  await rig.toBridge('a')
  await rig.kick('a')
  await rig.ends()
})

// ---- kick, shutdown, departure, in every stage ----

type Stage = 'resolve' | 'held' | 'admit' | 'dial' | 'replay' | 'challenge' | 'doubt' | 'bridge'
const STAGES: readonly Stage[] = ['resolve', 'held', 'admit', 'dial', 'replay', 'challenge', 'doubt', 'bridge']

async function at(stage: Stage): Promise<SessionRig> {
  const rig = await sessionRig(stage === 'admit' ? { services: { admit: () => new Promise(() => {}) } } : {})
  if (stage === 'held') rig.box.actor.ref.tell({ type: 'hold', identifier: 'a', id: 'h', ms: 60_000 })
  if (stage === 'resolve' || stage === 'held' || stage === 'admit') {
    rig.client.send('LOGIN a secret\n')
    await eventually(() => rig.session.account === 'a', 'the login arrives')
    if (stage === 'admit') {
      await eventually(() => rig.box.source.open.length === 1, 'resolve')
      await rig.box.source.answer('a', 'one')
    }
    return rig
  }
  if (stage === 'dial') await rig.toDial()
  else if (stage === 'bridge') await rig.toBridge()
  else {
    const backend = await rig.toReplay()
    if (stage === 'challenge') {
      backend.challenge('why')
      await eventually(() => rig.client.received.endsWith('ASK why\n'), 'the challenge')
    }
    if (stage === 'doubt') {
      rig.box.actor.ref.tell({ type: 'doubt', reason: 'a gap' })
      backend.accept()
      await eventually(() => rig.box.source.open.length === 1, 'the second lookup')
    }
  }
  return rig
}

for (const stage of STAGES) {
  test(`a kick at ${stage} ends the session at once: everything is closed and nothing is bridged`, async () => {
    const rig = await at(stage)
    assert.equal(await rig.kick('a'), 1)
    const { reason, error } = await rig.ends()
    assert.deepEqual([reason, error], ['kicked', undefined])
    await eventually(() => rig.client.gone, 'the client sees it')
    if (stage !== 'bridge') assert.deepEqual(rig.told, ['closed kicked'])
    assert.equal(await rig.kick('a'), 0)
    assert.equal(rig.box.resolver.stats().held, stage === 'held' ? 1 : 0)
    rig.session.end('shutdown')
    rig.session.end('kicked')
  })

  test(`a client that resets at ${stage} ends the session and its backend at once`, async () => {
    const rig = await at(stage)
    rig.client.socket.resetAndDestroy()
    const { reason, error } = await rig.ends()
    if (stage === 'bridge') assert.equal(reason, 'client-error')
    else assert.deepEqual([reason, error?.code, rig.told], ['error', 'CLIENT_CLOSED', ['closed error CLIENT_CLOSED']])
  })

  test(`the end of the instance ends a session at ${stage}`, async () => {
    const rig = await at(stage)
    assert.equal(await rig.end('preauth'), 0, 'it isn’t idle')
    assert.equal(await rig.end('all'), 1)
    assert.equal((await rig.ends()).reason, 'shutdown')
  })
}

test('an idle dialogue is told that the instance is closing', async () => {
  const rig = await sessionRig()
  await eventually(() => rig.client.received === 'HELLO\n', 'the greeting')
  assert.equal(await rig.end('preauth'), 1)
  const { reason, error } = await rig.ends()
  assert.deepEqual([reason, error], ['shutdown', undefined])
  await eventually(() => rig.client.ended, 'the end')
  assert.equal(rig.client.received, 'HELLO\nBYE shutdown\n')
})

test('a client without a complete login in preauth_timeout is told so and closed; a login stops that clock', async () => {
  const rig = await sessionRig()
  rig.client.send('LOGIN a')
  await eventually(() => rig.client.received === 'HELLO\n', 'the greeting')
  rig.box.clock.advance(29_999)
  rig.client.send(' x\n')
  await eventually(() => rig.box.source.open.length === 1, 'resolve')
  rig.box.clock.advance(60_000)
  assert.equal(rig.closed, undefined)
  await rig.box.source.fail('a')
  await eventually(() => rig.client.received.endsWith('LATER\n'), 'the temporary failure')
  rig.box.clock.advance(30_000)
  assert.deepEqual([(await rig.ends()).error?.code], ['CLIENT_TIMEOUT'])
  await eventually(() => rig.client.ended, 'the end')
  assert.ok(rig.client.received.endsWith('BYE timeout\n'))
})

test('a delay longer than preauth_timeout does not swallow the refusal', async () => {
  const rig = await sessionRig({ services: { penalty: () => Promise.resolve(40_000) } })
  const backend = await rig.toReplay()
  backend.refuse()
  await eventually(() => backend.destroyed, 'refused')
  for (let turns = 0; turns < 3; turns++) await turn()
  rig.box.clock.advance(40_000)
  await eventually(() => rig.client.received === 'HELLO\nNO\n', 'the refusal')
  rig.client.socket.destroy()
  await rig.ends()
})

test('a client that has ended its half is still told what became of its login, refusal and temporary failure alike', async () => {
  const refused = await sessionRig()
  const backend = await refused.toReplay()
  refused.client.socket.end()
  await turn()
  backend.refuse()
  await eventually(() => backend.destroyed, 'refused')
  for (let turns = 0; turns < 3; turns++) await turn()
  refused.box.clock.advance(1_000)
  assert.equal((await refused.ends()).error?.code, 'CLIENT_CLOSED')
  await eventually(() => refused.client.ended, 'the end')
  assert.equal(refused.client.received, 'HELLO\nNO\n')

  const later = await sessionRig()
  const dial = await later.toDial()
  later.client.socket.end()
  await turn()
  dial.fail(new SignalboxError('BACKEND_CONNECT', 'refused'))
  await later.ends()
  await eventually(() => later.client.ended, 'the end')
  assert.equal(later.client.received, 'HELLO\nLATER\n')
})

test('a client that has ended its half can be let in, and its end is passed on', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay()
  rig.client.socket.end('behind')
  await turn()
  backend.accept()
  await eventually(() => backend.server.ended, 'the end is passed on')
  assert.equal(backend.server.received, 'behind')
  backend.server.socket.end('the answer')
  await eventually(() => rig.client.ended, 'the answer is passed back')
  assert.equal(rig.client.received, 'HELLO\nOK welcome\nthe answer')
  await rig.ends()
})

test('a client that has ended its half cannot answer a challenge: the session ends', async () => {
  const rig = await sessionRig()
  const backend = await rig.toReplay()
  rig.client.socket.end()
  await turn()
  backend.challenge('why')
  assert.equal((await rig.ends()).error?.code, 'CLIENT_CLOSED')
  assert.ok(backend.destroyed)
})

test('a client that ends its half while it is its turn is closed', async () => {
  const rig = await sessionRig()
  await eventually(() => rig.client.received === 'HELLO\n', 'the greeting')
  rig.client.socket.end()
  const { reason, error } = await rig.ends()
  assert.deepEqual([reason, error?.code], ['error', 'CLIENT_CLOSED'])
})

test('a client that does not take its last words is closed without them', async () => {
  const rig = await sessionRig()
  rig.client.socket.pause()
  // More than the kernel takes off our hands.
  rig.near.write(Buffer.alloc(64 * 1024 * 1024))
  rig.client.send('QUIT\n')
  await eventually(() => rig.closed !== undefined, 'the session ends')
  rig.box.clock.advance(LAST_WORDS_MS - 1)
  await turn()
  assert.equal(rig.near.destroyed, false)
  rig.box.clock.advance(1)
  assert.equal(rig.near.destroyed, true)
  assert.equal((await rig.ends()).reason, 'logout')
  rig.client.socket.destroy()
})

test('a defect in a dialogue ends its own session and leaves nothing open', async () => {
  class Defective extends FewWords {
    override unavailable(): void {
      throw new TypeError('a defect')
    }
  }
  const rig = await sessionRig({ preauth: (port) => new Defective(port) })
  const dial = await rig.toDial()
  dial.fail(new SignalboxError('BACKEND_CONNECT', 'refused'))
  const { reason, error } = await rig.ends()
  assert.deepEqual([reason, error?.code], ['error', 'INTERNAL'])
})
