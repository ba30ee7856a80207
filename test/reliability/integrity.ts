/**
 * `node test/reliability/integrity.ts [--bytes 10e9]`: so many bytes through each combination of TLS: client's leg plain or TLS, backend's leg plain or
 * TLS; half of them in each direction, in several sessions at once, of which one reads slowly and one writes slowly. What comes out must be
 * what went in: towards the client byte for byte, towards the server by its hash. Prints what passed and how fast.
 */
import { createHash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { Cargo } from '../chaos/cargo.ts'
import { ChaosFleet } from '../chaos/fleet.ts'
import type { Door } from '../chaos/fleet.ts'
import { CLIENTS } from '../chaos/speech.ts'
import { Talk } from '../chaos/talk.ts'

const PATIENCE_MS = 60_000
/** Sessions that go as fast as they can, and what each of their cargoes is at most. */
const FAST = 3
const PIECE = 64 * 1024
/** The slow ones rest after each so many bytes; they carry this share of the whole, and no more than this. */
const SLOW_STEP = 256 * 1024
const SLOW_REST_MS = 5
const SLOW_SHARE = 0.01
const SLOW_MOST = 200e6

/** One combination. */
export interface Passed {
  readonly client: 'plain' | 'tls'
  readonly backend: 'plain' | 'tls'
  readonly bytes: number
  readonly seconds: number
  /** What was not as it should be. */
  readonly wrong: readonly string[]
}

/** Moves so many bytes through each combination. */
export async function integrity(bytes: number, told: (passed: Passed) => void = () => {}): Promise<readonly Passed[]> {
  // By their number destinations have a plain leg or one with TLS (fleet.ts).
  const accounts = { plain: 'plain@example.com', tls: 'tls@example.com' }
  await using fleet = await ChaosFleet.start({ source: 'redis', accounts: [accounts.tls, accounts.plain] })
  const [member] = fleet.members
  const results: Passed[] = []
  for (const client of ['plain', 'tls'] as const) {
    for (const backend of ['plain', 'tls'] as const) {
      const door = member?.doors.find(({ protocol, tls }) => protocol === 'pop3' && tls === (client === 'plain' ? 'plain' : 'implicit'))
      if (door === undefined) throw new Error('no such door')
      const passed = await combination({ client, backend, bytes, door, ca: fleet.ca, account: accounts[backend], at: backend === 'tls' ? 'd1' : 'd2' })
      told(passed)
      results.push(passed)
    }
  }
  return results
}

interface Combination {
  readonly client: 'plain' | 'tls'
  readonly backend: 'plain' | 'tls'
  readonly bytes: number
  readonly door: Door
  readonly ca: string
  readonly account: string
  readonly at: string
}

async function combination(options: Combination): Promise<Passed> {
  const { client, backend, bytes } = options
  const slow = Math.floor(Math.min(SLOW_MOST, bytes * SLOW_SHARE) / 2)
  const fast = Math.ceil((bytes - 2 * slow) / FAST / 2)
  const began = systemClock.now()
  const sessions = await Promise.all([
    ...Array.from({ length: FAST }, (_, index) => session(options, { give: fast, take: fast, seed: 1_000 * (index + 1), reads: false, writes: false })),
    session(options, { give: slow, take: 0, seed: 77, reads: true, writes: false }),
    session(options, { give: 0, take: slow, seed: 78, reads: false, writes: true }),
  ])
  const seconds = (systemClock.now() - began) / 1_000
  return { client, backend, bytes: sessions.reduce((sum, { moved }) => sum + moved, 0), seconds, wrong: sessions.flatMap(({ wrong }) => wrong) }
}

interface Cargoes {
  readonly give: number
  readonly take: number
  readonly seed: number
  /** Slowly. */
  readonly reads: boolean
  readonly writes: boolean
}

async function session({ door, ca, account, at }: Combination, { give, take, seed, reads, writes }: Cargoes): Promise<{ moved: number; wrong: string[] }> {
  const wrong: string[] = []
  let moved = 0
  const talk = await Talk.connect({ port: door.port, patience: PATIENCE_MS, ca: door.tls === 'implicit' ? ca : undefined })
  try {
    if ((await CLIENTS.pop3.logIn(talk, account, undefined)) !== 'in') return { moved, wrong: ['no login'] }
    talk.write('WHERE\r\n')
    if (!(await talk.until(/^AT /)).startsWith(`AT ${at} `)) wrong.push('another server')
    if (give > 0) {
      talk.write(`GIVE ${give} ${seed}\r\n`)
      const cargo = new Cargo(seed)
      let rest = SLOW_STEP
      await talk.bytes(give, async (chunk) => {
        if (!cargo.matches(chunk)) throw new Error('other bytes came than were sent')
        moved += chunk.length
        rest -= chunk.length
        if (!reads || rest > 0) return
        rest = SLOW_STEP
        await systemClock.sleep(SLOW_REST_MS)
      })
    }
    if (take > 0) {
      talk.write(`TAKE ${take}\r\n`)
      const cargo = new Cargo(seed)
      const hash = createHash('sha256')
      let rest = SLOW_STEP
      for (let left = take; left > 0; ) {
        const piece = cargo.next(Math.min(left, PIECE))
        left -= piece.length
        rest -= piece.length
        moved += piece.length
        hash.update(piece)
        await talk.pour(piece)
        if (!writes || rest > 0) continue
        rest = SLOW_STEP
        await systemClock.sleep(SLOW_REST_MS)
      }
      if ((await talk.line()) !== `GOT ${hash.digest('hex')}`) wrong.push('the server had other bytes')
    }
    talk.write('QUIT\r\n')
    await talk.end()
  } catch (error) {
    wrong.push(String(error))
  } finally {
    talk.destroy()
  }
  return { moved, wrong }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { bytes: { type: 'string', default: '10e9' } } })
  let wrongs = 0
  await integrity(Number(values.bytes), ({ client, backend, bytes, seconds, wrong }) => {
    wrongs += wrong.length
    const verdict = wrong.length === 0 ? 'the same on both sides' : wrong.join('; ')
    process.stdout.write(`client ${client}, backend ${backend}: ${(bytes / 1e9).toFixed(2)} GB in ${Math.round(seconds)} s, ${Math.round(bytes / seconds / 1e6)} MB/s: ${verdict}\n`)
  })
  process.exitCode = wrongs === 0 ? 0 : 1
}
