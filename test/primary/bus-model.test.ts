/**
 * No silent miss: over random drops, delays, repetitions, cuts and restarts, whoever has missed a change has doubted
 * everything it had cached before it can be taken to be in step again. The same model finds a member that doesn't look
 * for gaps, one that doesn't look for silence, and one that lets a restart pass.
 *
 * SIGNALBOX_MODEL_RUNS: how many runs; SIGNALBOX_MODEL_SEED: repeats them.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { decodeBusFrame } from '../../src/bus/frame.ts'
import { readPayload } from '../../src/bus/payload.ts'
import type { BusHeader } from '../../src/bus/frame.ts'
import { Peers } from '../../src/primary/peers.ts'
import type { PeerOutcome } from '../../src/primary/bus-member.ts'
import type { Followed, Peer } from '../../src/primary/peers.ts'
import { BusHub } from '../support/bus-hub.ts'
import { Actor, HEARTBEAT, settle } from '../support/bus-member.ts'
import { FakeClock } from '../support/fake-clock.ts'

const RUNS = Number(process.env['SIGNALBOX_MODEL_RUNS'] ?? 150)
const SEED = process.env['SIGNALBOX_MODEL_SEED']

const NAMES = ['a', 'b', 'c'] as const
const SECRET = 'a secret of sixteen or more'
/** Milliseconds that a late frame is under way. */
const LATE = 1_700
/** A silence is found at the first heartbeat after three of them; the last frame before it may have come late. */
const BOUND = 4 * HEARTBEAT + LATE

type Weather = readonly ('fine' | 'drop' | 'delay' | 'late' | 'twice')[]
type Step =
  | { readonly do: 'change'; readonly who: number }
  | { readonly do: 'wait'; readonly quarters: number }
  | { readonly do: 'cut' | 'mend' | 'deafen' | 'hear' | 'mute' | 'speak' | 'crash' | 'leave' | 'replay'; readonly who: number }

const who = fc.nat(NAMES.length - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('change' as const), who }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), quarters: fc.integer({ min: 1, max: 20 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom('cut', 'mend', 'deafen', 'hear', 'mute', 'speak', 'crash', 'leave', 'replay'), who }),
  },
)
/** The fate of frame after frame to all, over and over; between the bad ones enough good ones for anything to work. */
const weather: fc.Arbitrary<Weather> = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: fc.constant('fine' as const) },
    { weight: 1, arbitrary: fc.constantFrom('drop', 'delay', 'late', 'twice') },
  ),
  { minLength: 1, maxLength: 40 },
)

interface Missable {
  readonly sender: string
  readonly identifier: string
  readonly at: number
  /** Doubts of the receiver when it was published. */
  readonly doubts: number
  /** The member that should have heard it. */
  readonly receiver: Actor
  readonly epoch: number
  readonly sequence: number
  /** To the receiver the sender was lost already, or unknown: only when it is back can it know. The sender's answer names it. */
  readonly blind: boolean
}

class World {
  readonly clock = new FakeClock()
  readonly hub = new BusHub(this.clock)
  readonly #makePeers: () => Peers
  readonly #actors = new Map<string, Actor>()
  #missable: Missable[] = []
  #epoch = 1_000
  #changes = 0
  #frames = 0
  /** What made the world no longer hold; checked after each step. */
  readonly violations: string[] = []

  constructor(weather: Weather, makePeers: () => Peers) {
    this.#makePeers = makePeers
    this.hub.fate = ({ channel }) => {
      if (!channel.endsWith(':frames')) return [0]
      const kind = weather[this.#frames++ % weather.length] ?? 'fine'
      switch (kind) {
        case 'drop':
          return []
        case 'delay':
          return [40]
        case 'late':
          return [LATE]
        case 'twice':
          return [0, 300]
        case 'fine':
          return [0]
      }
    }
  }

  async begin(): Promise<void> {
    for (const name of NAMES) await this.#start(name)
    await this.#pass(8)
  }

  async step(step: Step): Promise<void> {
    if (step.do === 'wait') return this.#pass(step.quarters)
    const name = NAMES[step.who] ?? 'a'
    const actor = this.#actors.get(name)
    if (actor === undefined) return this.#start(name)
    switch (step.do) {
      case 'change':
        this.#change(actor)
        break
      case 'cut':
        actor.end.cut = true
        break
      case 'mend':
        if (actor.end.cut) actor.end.mend()
        break
      case 'deafen':
        actor.end.deaf = true
        break
      case 'hear':
        actor.end.deaf = false
        break
      case 'mute':
        actor.end.mute = true
        break
      case 'speak':
        actor.end.mute = false
        break
      case 'crash':
        actor.end.vanish()
        this.#gone(actor)
        break
      case 'leave':
        this.#gone(actor)
        void actor.member.close()
        break
      case 'replay': {
        const old = this.hub.published[(this.#changes * 31) % this.hub.published.length]
        if (old !== undefined) this.hub.inject(old.channel, old.bytes)
        break
      }
    }
    await settle()
    this.#check()
  }

  /** All is well from here on: within the bound nobody may owe a doubt. */
  async end(): Promise<void> {
    this.hub.fate = () => [0]
    for (const { end } of this.#actors.values()) {
      end.deaf = false
      end.mute = false
      if (end.cut) end.mend()
    }
    await this.#pass(4 * 6)
    for (const { receiver, sender, identifier, doubts, blind } of this.#missable) {
      if (blind && !this.#actors.has(sender)) continue
      if (!heard(receiver, identifier) && receiver.doubtful === doubts) {
        this.violations.push(`${receiver.name} has never doubted ${identifier} of ${sender}`)
      }
    }
    for (const actor of this.#actors.values()) {
      actor.doubts.length = 0
      actor.quiet.length = 0
      if (actor.member.state !== 'up') this.violations.push(`${actor.name} is not up again`)
    }
    await this.#pass(4 * 3)
    for (const actor of this.#actors.values()) {
      if (actor.doubtful > 0) this.violations.push(`${actor.name} doubts for no reason: ${[...actor.doubts, ...actor.quiet].join()}`)
    }
    for (const actor of this.#actors.values()) await actor.member.close()
  }

  async #start(name: string): Promise<void> {
    const actor = new Actor(this.hub, this.clock, name, this.#epoch++, { cluster: { secret: SECRET }, peers: this.#makePeers() })
    const joining = actor.join()
    const progress = { over: false }
    const over = (): unknown => (progress.over = true)
    joining.then(over, over)
    for (let quarters = 0; quarters < 40 && !progress.over; quarters++) await this.#pass(1)
    await joining
    this.#actors.set(name, actor)
  }

  #gone(actor: Actor): void {
    this.#actors.delete(actor.name)
    // What it has cached is gone with it.
    this.#missable = this.#missable.filter(({ receiver }) => receiver !== actor)
  }

  #change(sender: Actor): void {
    const identifier = `change${this.#changes++}`
    const epoch = sender.epoch
    const sequence = sender.member.sequence + 1
    for (const receiver of this.#actors.values()) {
      if (receiver === sender) continue
      const doubts = receiver.doubtful
      const followed = receiver.peer(sender.name)
      const blind = followed === undefined || followed.lostAt !== undefined
      this.#missable.push({ sender: sender.name, identifier, at: this.clock.now(), doubts, receiver, epoch, sequence, blind })
    }
    // Who is off the bus is told by the answer's `bus`, or bounds its routes by itself.
    const up = (actor: Actor): boolean => actor.member.state === 'up'
    const present = up(sender) ? [...this.#actors.values()].filter((actor) => actor !== sender && up(actor)) : []
    void sender.member.publish({ kind: 'invalidate', identifiers: [identifier], reread: false }).then((outcomes) => {
      this.#checkAnswer(sender, identifier, present, outcomes)
    })
  }

  /** Never less than the truth: whoever is on the bus and has not obeyed is named, and only who has obeyed is confirmed. */
  #checkAnswer(sender: Actor, identifier: string, present: readonly Actor[], outcomes: readonly PeerOutcome[]): void {
    for (const receiver of present) {
      const obeyed = heard(receiver, identifier)
      const outcome = outcomes.find(({ instance }) => instance === receiver.name)
      if (outcome?.acknowledged === true && !obeyed) this.violations.push(`${receiver.name} is said to have obeyed ${identifier}`)
      const gone = [receiver, sender].some((actor) => this.#actors.get(actor.name) !== actor)
      if (obeyed || outcome !== undefined || gone) continue
      if (receiver.member.state === 'down' || sender.member.state === 'down') continue
      this.violations.push(`${receiver.name} has not obeyed ${identifier} and is not named`)
    }
  }

  async #pass(quarters: number): Promise<void> {
    for (let quarter = 0; quarter < quarters; quarter++) {
      this.clock.advance(HEARTBEAT / 4)
      await settle()
      this.#check()
    }
  }

  /**
   * Whoever has not heard a change must have doubted after it was made: when a newer frame of its sender has come, or
   * BOUND later. While it is itself off the bus, and knows it, its routes are bounded by bus_down_ttl, and it will doubt
   * when it is back.
   */
  #check(): void {
    this.#missable = this.#missable.filter((missable) => {
      const { receiver, identifier, doubts, at, sender, epoch, sequence } = missable
      if (heard(receiver, identifier) || receiver.doubtful > doubts) return false
      const followed = receiver.peer(sender)
      if (followed !== undefined && (followed.epoch > epoch || (followed.epoch === epoch && followed.sequence > sequence))) {
        this.violations.push(`${receiver.name} follows ${sender} beyond ${identifier} and has not doubted it`)
        return false
      }
      if (missable.blind || receiver.member.state === 'down' || this.clock.now() - at <= BOUND) return true
      this.violations.push(`${receiver.name} has not doubted ${identifier} of ${sender} after ${this.clock.now() - at} ms`)
      return false
    })
  }
}

function heard(receiver: Actor, identifier: string): boolean {
  return receiver.obeyed.some((change) => change.kind === 'invalidate' && change.identifiers.includes(identifier))
}

async function violationsOf(weather: Weather, steps: readonly Step[], makePeers: () => Peers): Promise<readonly string[]> {
  const world = new World(weather, makePeers)
  await world.begin()
  for (const step of steps) await world.step(step)
  await world.end()
  return world.violations
}

const runs = fc.tuple(weather, fc.array(step, { maxLength: 40 }))

/** Lets gaps pass. */
class Gapless extends Peers {
  override follow(header: BusHeader, now: number): Followed {
    const followed = super.follow(header, now)
    return followed.continuity === 'gap' ? { ...followed, continuity: 'next' } : followed
  }
}

/** Never takes anybody for lost. */
class Trusting extends Peers {
  override silent(): readonly Peer[] {
    return []
  }
}

/** Takes a new life for the old one's next word. */
class Forgetful extends Peers {
  override follow(header: BusHeader, now: number): Followed {
    const followed = super.follow(header, now)
    return followed.continuity === 'restarted' ? { ...followed, continuity: 'next' } : followed
  }

  override silent(): readonly Peer[] {
    return []
  }
}

/** What the first failing run shows; nothing but missing doubts counts. */
async function found(makePeers: () => Peers): Promise<readonly string[]> {
  let found: readonly string[] = []
  await fc.check(
    fc.asyncProperty(runs, async ([weather, steps]) => {
      const missing = (await violationsOf(weather, steps, makePeers)).filter((violation) => /not doubted|never doubted/.test(violation))
      if (found.length === 0) found = missing
      return missing.length === 0
    }),
    { numRuns: 400, seed: 7, endOnFailure: true },
  )
  return found
}

describe('no silent miss', () => {
  test('over random networks and lives every missed change is doubted in time', async () => {
    await fc.assert(
      fc.asyncProperty(runs, async ([weather, steps]) => {
        assert.deepEqual(await violationsOf(weather, steps, () => new Peers()), [])
      }),
      { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
    )
  })

  for (const [name, makePeers] of [
    ['no check for gaps', () => new Gapless()],
    ['no check for silence', () => new Trusting()],
    ['no check for restarts', () => new Forgetful()],
  ] as const) {
    test(`the model finds a member with ${name}`, async (t) => {
      const missing = await found(makePeers)
      assert.notDeepEqual(missing, [])
      t.diagnostic(missing[0] ?? '')
    })
  }

  test('what went out was readable throughout', async () => {
    const world = new World(['fine'], () => new Peers())
    await world.begin()
    await world.step({ do: 'change', who: 1 })
    await world.end()
    for (const { channel, bytes } of world.hub.published) {
      const { header, body } = decodeBusFrame(bytes, channel, SECRET)
      assert.ok(header.kind !== undefined && body.ok)
      assert.equal(readPayload(header.kind, body.payload).kind, header.kind)
    }
  })
})
