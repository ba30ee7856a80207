/**
 * Entry of the process that asks, as a worker does: a resolver whose source is the primary at the other end of the
 * process's channel. `bare` sends messages there and back over the same channel instead.
 */
import { Link } from '../../src/actor/link.ts'
import { systemClock } from '../../src/clock.ts'
import type { FramesEnvelope } from '../../src/cluster/channel.ts'
import type { MappingMessage } from '../../src/mapping/actor.ts'
import { remoteLookup } from '../../src/worker/remote-lookup.ts'
import { account, CACHED } from './mail.ts'
import type { Bare, Measure, Measured } from './mail.ts'
import { rate } from './rate.ts'
import { startResolver } from './resolver.ts'

const DEADLINE_MS = 10_000

function send(message: FramesEnvelope | Bare | Measured): boolean {
  process.send?.(message)
  return true
}

function bare(): (n: number) => Promise<void> {
  const open = new Map<number, () => void>()
  process.on('message', (message: Bare | Measure) => {
    if (message.t !== 'bare') return
    open.get(message.id)?.()
    open.delete(message.id)
  })
  return (id) =>
    new Promise((resolve) => {
      open.set(id, resolve)
      send({ t: 'bare', id })
    })
}

function resolver(): (n: number) => Promise<void> {
  const clock = systemClock
  const link = new Link({
    clock,
    send: (frames) => send({ t: 'frames', frames }),
    onInvalid: (error) => {
      throw error
    },
  })
  process.on('message', (message: FramesEnvelope | Measure) => {
    if (message.t === 'frames') link.receive(message.frames)
  })
  const { resolver: routes, actor } = startResolver(CACHED, remoteLookup(link.remote<MappingMessage>('mapping'), () => DEADLINE_MS))
  return async (n) => {
    const identifier = account(n)
    if (routes.cached(identifier) !== undefined) throw new Error(`${identifier} is cached`)
    const route = await actor.ref.ask({ type: 'resolve', identifier }, DEADLINE_MS)
    if (route.kind !== 'mapped') throw new Error(`${identifier} is not mapped`)
  }
}

const ask = process.argv[2] === 'bare' ? bare() : resolver()
let asked = 0
process.on('message', (message: Measure | { readonly t: 'other' }) => {
  if (message.t !== 'measure') return
  void rate(message.inFlight, message.count, () => ask(asked++)).then((measured) => send({ t: 'measured', ...measured }))
})
process.on('disconnect', () => process.exit())
