import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { pino } from 'pino'
import type { Config } from '../../src/config/config.ts'
import type { Loaded } from '../../src/config/load.ts'
import { SignalboxError } from '../../src/errors.ts'
import { Reloader } from '../../src/primary/reloading.ts'
import type { Part } from '../../src/primary/reloading.ts'
import { testConfig } from '../support/config.ts'
import { FakeClock } from '../support/fake-clock.ts'

interface Room {
  /** What happened, in order. */
  readonly said: string[]
  readonly lines: Record<string, unknown>[]
  readonly fatal: SignalboxError[]
  loaded: Loaded
  state: 'starting' | 'ready' | 'draining'
  config: Config
  parts: readonly Part[]
  readonly reloader: Reloader
}

function room(parts: (said: string[]) => readonly Part[] = () => []): Room {
  const said: string[] = []
  const lines: Record<string, unknown>[] = []
  const fatal: SignalboxError[] = []
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()))
      done()
    },
  })
  const config = testConfig()
  const reloader: Reloader = new Reloader({
    clock: new FakeClock(),
    log: pino({ base: {} }, sink),
    load: () => {
      said.push('load')
      return Promise.resolve(house.loaded)
    },
    config: () => house.config,
    state: () => house.state,
    parts: () => house.parts,
    after: () => {
      said.push('after')
      return Promise.resolve({ workers: 2, workersExpected: 2 })
    },
    begins: (over) => {
      said.push('begins')
      void over.then(() => said.push('over'))
    },
    fatal: (error) => fatal.push(error),
  })
  const house: Room = {
    said,
    lines,
    fatal,
    loaded: { ok: true, config: { ...config, oauth: { jwtUsernameClaim: 'upn' } }, warnings: ['look here'] },
    state: 'ready',
    config,
    parts: parts(said),
    reloader,
  }
  return house
}

function part(said: string[], name: string, fails?: Error): Part {
  return {
    prepare: () => {
      said.push(`prepare ${name}`)
      if (fails !== undefined) return Promise.reject(fails)
      return Promise.resolve({ commit: () => said.push(`commit ${name}`), abort: () => said.push(`abort ${name}`) })
    },
  }
}

test('all parts are made ready, then all take over, in order and with nothing in between', async () => {
  const { reloader, said, lines } = room((said) => [part(said, 'a'), part(said, 'b')])
  const answer = await reloader.reload('management')
  assert.deepEqual(said, ['begins', 'load', 'prepare a', 'prepare b', 'commit a', 'commit b', 'after', 'over'])
  assert.ok(answer.ok)
  assert.deepEqual([answer.changed, answer.warnings, answer.note], [['oauth'], ['look here'], 'In force: oauth.'])
  assert.deepEqual(lines.map(({ event }) => event), ['config_warning', 'config_reloaded'])
})

test('one part that cannot be: its mistakes and those of the others are told, and none takes over', async () => {
  const cause = new AggregateError([new Error('no port'), new Error('nor that')])
  const { reloader, said, lines } = room((said) => [
    part(said, 'a'),
    part(said, 'b', new SignalboxError('CONFIG_INVALID', 'no certificate')),
    part(said, 'c'),
    part(said, 'd', new SignalboxError('LISTEN_FAILED', 'no port; nor that', { cause })),
  ])
  const answer = await reloader.reload('signal')
  assert.deepEqual(answer, { ok: false, mistakes: ['no certificate', 'no port', 'nor that'] })
  assert.deepEqual(said, ['begins', 'load', 'prepare a', 'prepare b', 'prepare c', 'prepare d', 'abort c', 'abort a', 'over'])
  assert.deepEqual(lines.map(({ event, by, count }) => [event, by, count]), [['config_refused', 'signal', 3]])
})

test('a file with mistakes disturbs no part', async () => {
  const house = room((said) => [part(said, 'a')])
  house.loaded = { ok: false, mistakes: [{ path: 'server.thread', message: 'unknown key' }] }
  assert.deepEqual(await house.reloader.reload('management'), { ok: false, mistakes: ['server.thread: unknown key'] })
  assert.deepEqual(house.said, ['begins', 'load', 'over'])
})

test('a defect of ours, or an end that came meanwhile, is no mistake of the file: nothing has changed then either', async () => {
  const defect = room((said) => [part(said, 'a'), part(said, 'b', new Error('oops'))])
  await assert.rejects(defect.reloader.reload('management'), { code: 'INTERNAL' })
  assert.deepEqual(defect.said.slice(-2), ['abort a', 'over'])
  const ending = room()
  ending.parts = [part(ending.said, 'a'), { prepare: () => {
    ending.state = 'draining'
    return part(ending.said, 'b').prepare({} as never)
  } }]
  await assert.rejects(ending.reloader.reload('management'), { code: 'DRAINING' })
  assert.deepEqual(ending.said.slice(-3), ['abort b', 'abort a', 'over'])
  const starting = room()
  starting.state = 'starting'
  await assert.rejects(starting.reloader.reload('signal'), { code: 'DRAINING' })
  assert.deepEqual(starting.fatal, [])
  // Who is told that one is over takes that for an instance that serves.
  assert.deepEqual(starting.said, [])
})

test('parts that do not all take over end the instance: half a configuration is none', async () => {
  const broken: Part = {
    prepare: () =>
      Promise.resolve({
        commit: () => {
          throw new Error('oops')
        },
        abort: () => {},
      }),
  }
  const { reloader, fatal } = room((said) => [part(said, 'a'), broken])
  await assert.rejects(reloader.reload('management'), { code: 'INTERNAL' })
  assert.deepEqual(fatal.map(({ code }) => code), ['INTERNAL'])
})

test('one at a time: whoever asks meanwhile shares the next, which reads the file again', async () => {
  const house = room((said) => [part(said, 'a')])
  const first = house.reloader.reload('management')
  const second = house.reloader.reload('management')
  const third = house.reloader.reload('signal')
  house.loaded = { ok: false, mistakes: [{ path: 'x', message: 'wrong' }] }
  assert.equal((await first).ok, true)
  assert.deepEqual([await second, await third], [{ ok: false, mistakes: ['x: wrong'] }, { ok: false, mistakes: ['x: wrong'] }])
  assert.equal(house.said.filter((what) => what === 'load').length, 2)
  // A failure doesn't stand in the way of later ones.
  house.state = 'starting'
  const [failed, waits] = [house.reloader.reload('signal'), house.reloader.reload('signal')]
  await assert.rejects(failed)
  await assert.rejects(waits)
  house.state = 'ready'
  house.loaded = { ok: true, config: house.config, warnings: [] }
  assert.equal((await house.reloader.reload('signal')).ok, true)
})
