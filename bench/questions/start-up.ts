/** One question: how long is it from the start of the proxy to the first login? */
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { PASSWORD } from '../load/imap-client.ts'
import type { Figures, Question, Subject } from '../question.ts'
import { Stage } from '../stage.ts'
import { floor } from '../subjects/floor.ts'
import type { ProxyKind } from '../subjects/proxy.ts'
import { signalbox } from '../subjects/signalbox.ts'

const OURS = 'Signalbox, empty mapping'
const FLOOR = 'floor'
const PATIENCE_MS = 60_000

const question: Question = {
  title: 'How long does it take from the start to the first login?',
  method: 'From before the process is started until a client that keeps trying has been let in, with an empty mapping file and a certificate. Run from source, what was compiled is kept from an earlier start.',
  figures: { time: { label: 'start to first login', unit: 'ms', better: 'less', chart: true } },
  goals: [{ kind: 'goal', subject: OURS, figure: 'time', most: 700 }],
  takes: { full: 10, quick: 0 },
  async run(bench) {
    const stage = await Stage.open(bench, { legs: 'plain' })
    const empty = join(bench.directory, 'empty')
    await writeFile(empty, '')
    const ours = signalbox('primary', OURS, { mapping: { source: 'file', file: { path: empty } } })
    await bench.compare([subject(stage, ours), subject(stage, { ...floor('round-robin'), name: FLOOR })])
  },
}

function subject(stage: Stage, kind: ProxyKind): Subject {
  const once = async (): Promise<Figures> => {
    const start = performance.now()
    const proxy = await stage.start(kind)
    if (proxy === undefined) throw new Error(`${kind.name} did not start`)
    await firstLogin(proxy.port)
    const time = performance.now() - start
    await proxy[Symbol.asyncDispose]()
    return { time }
  }
  return { name: kind.name, warm: async () => void (await once()), round: once }
}

async function firstLogin(port: number): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!(await login(port))) if (performance.now() > end) throw new Error('nobody is let in')
}

function login(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ host: '127.0.0.1', port })
  let read = ''
  let asked = false
  socket.on('error', () => resolve(false))
  socket.on('close', () => resolve(false))
  socket.on('data', (bytes: Buffer) => {
    read += bytes.toString('latin1')
    if (!asked && read.includes('\r\n')) {
      asked = true
      socket.write(`a LOGIN user1@example.com ${PASSWORD}\r\n`)
    }
    if (!/^a OK/m.test(read)) return
    resolve(true)
    socket.destroy()
  })
  return promise
}

export default question
