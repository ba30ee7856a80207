/** One question: what does a route cost that a worker must ask the primary for? */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { spawn } from '../../src/actor/actor.ts'
import { Link } from '../../src/actor/link.ts'
import { systemClock } from '../../src/clock.ts'
import type { FramesEnvelope } from '../../src/cluster/channel.ts'
import { MappingOwner } from '../../src/mapping/actor.ts'
import { openFileSource } from '../../src/mapping/file/source.ts'
import { account, ACCOUNTS } from '../lookup/mail.ts'
import type { Asker, Bare, Measure, Measured } from '../lookup/mail.ts'
import type { Bench, Figures, Question, Subject } from '../question.ts'

const ASKER = join(import.meta.dirname, '..', 'lookup', 'asker.ts')
const IN_FLIGHT = 256
/** Lookups of a round: one at a time, and many in flight. */
const ALONE = 2_000
const MANY = 80_000
const OURS = 'worker → primary → worker'
const BARE = 'bare message and answer'

const question: Question = {
  title: 'What does a cache miss cost with a mapping file: from the worker to the primary and back?',
  method: `A file of ${ACCOUNTS} mappings in one process, a worker's resolver with a small cache in another, joined by the channel that workers have. Another account at each lookup; one at a time for the median, ${IN_FLIGHT} in flight for the rate. Bare: one message and one answer each, over the same channel.`,
  figures: {
    rate: { label: `lookups a second, ${IN_FLIGHT} in flight`, unit: '/s', better: 'more', chart: true },
    median: { label: 'median of one at a time', unit: 'µs', better: 'less' },
    cpu: { label: `CPU per lookup, both processes, ${IN_FLIGHT} in flight`, unit: 'µs', better: 'less' },
  },
  goals: [
    { kind: 'goal', subject: OURS, figure: 'median', most: 80 },
    { kind: 'goal', subject: OURS, figure: 'rate', least: 200_000 },
    { kind: 'goal', subject: OURS, figure: 'median', of: BARE, most: 1.5, text: '80 µs beside 53 of a bare message' },
    { kind: 'goal', subject: OURS, figure: 'rate', of: BARE, least: 0.73, text: '200,000 a second beside 275,000 bare messages' },
  ],
  takes: { full: 22, quick: 5 },
  async run(bench) {
    const path = join(bench.directory, 'mappings')
    await writeFile(path, Array.from({ length: ACCOUNTS }, (_, n) => `${account(n)}\tbackend\n`).join(''))
    const config = { path, watch: false, shared: false }
    const source = await openFileSource({ config, normalize: 'lowercase', destinations: ['backend'], clock: systemClock, warn: () => {} })
    const owner = spawn(new MappingOwner(source), { name: 'mapping', clock: systemClock })
    bench.use({ [Symbol.asyncDispose]: () => source.close() })
    const ours = start(bench, 'resolver')
    const link = new Link({
      clock: systemClock,
      send: (frames) => ours.send({ t: 'frames', frames } satisfies FramesEnvelope),
      onInvalid: (error) => {
        throw error
      },
    })
    link.export('mapping', owner.ref)
    ours.on('message', (message: FramesEnvelope | Measured) => {
      if (message.t === 'frames') link.receive(message.frames)
    })
    const bare = start(bench, 'bare')
    bare.on('message', (message: Bare | Measured) => {
      if (message.t === 'bare') bare.send(message)
    })
    await bench.compare([subject(OURS, ours, bench), subject(BARE, bare, bench)])
  },
}

function start(bench: Bench, asker: Asker): ChildProcess {
  const child = fork(ASKER, [asker], { serialization: 'advanced' })
  bench.use({
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit')
      child.disconnect()
      await ended
    },
  })
  return child
}

function subject(name: string, child: ChildProcess, bench: Bench): Subject {
  const measure = (inFlight: number, count: number): Promise<Measured> =>
    new Promise((resolve, reject) => {
      const failed = (): void => reject(new Error(`${name}: the process ended`))
      child.once('exit', failed)
      const take = (message: Measured | { readonly t: 'other' }): void => {
        if (message.t !== 'measured') return
        child.off('exit', failed)
        child.off('message', take)
        resolve(message)
      }
      child.on('message', take)
      child.send({ t: 'measure', inFlight, count } satisfies Measure)
    })
  return {
    name,
    warm: async () => void (await measure(IN_FLIGHT, bench.quick ? MANY : 3 * MANY)),
    async round(): Promise<Figures> {
      const alone = await measure(1, bench.quick ? ALONE / 4 : ALONE)
      const before = process.cpuUsage()
      const many = await measure(IN_FLIGHT, bench.quick ? MANY / 4 : MANY)
      const { user, system } = process.cpuUsage(before)
      return { rate: many.perSecond, median: alone.median * 1_000, cpu: (many.cpu + user + system) / (bench.quick ? MANY / 4 : MANY) }
    },
  }
}

export default question
