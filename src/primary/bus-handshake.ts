/**
 * Hello and welcome: how instances come to know each other, and prove that they are there. A frame says who sent it, not when:
 * whoever listens can send it again. Whoever has answered a question of ours, drawn at random, is `proven` in its epoch; the same
 * question settles who is meant when a sender's clock was set back, and which numbers were never its own. What an instance says of itself
 * counts from its answer on.
 */
import type { BusHeader } from '../bus/frame.ts'
import type { ActiveHold, BusPayload, GivenState, Hello, InstanceFacts, Welcome } from '../bus/payload.ts'
import type { Clock } from '../clock.ts'
import { BUS_WELCOMES, IDENTIFIERS_PER_FRAME } from '../limits.ts'
import { Introductions } from './introductions.ts'
import type { Peer, Peers, Proven } from './peers.ts'

export interface BusHandshakeOptions {
  readonly clock: Clock
  /** Milliseconds between two heartbeats, and within which a question to all must be answered. */
  readonly heartbeat: number
  readonly patience: number
  readonly peers: Peers
  /** Sends to one, sooner or later. */
  readonly sendTo: (instance: string, payload: BusPayload) => void
  /** The number of our last frame to all. */
  readonly sequence: () => number
  readonly facts: () => InstanceFacts
  readonly destinations: () => readonly string[]
  readonly holds: () => readonly ActiveHold[]
  readonly states: () => readonly GivenState[]
  readonly adopt: (states: readonly GivenState[]) => void
  readonly told: { joined(peer: string): void; differs(peer: string): void }
}

export class BusHandshake {
  readonly #options: BusHandshakeOptions
  readonly #introductions: Introductions
  /** Introductions that were answered since the last beat. */
  #welcomes = 0

  constructor(options: BusHandshakeOptions) {
    this.#options = options
    this.#introductions = new Introductions(options.heartbeat, options.patience)
  }

  /** A heartbeat is over. */
  beat(): void {
    this.#welcomes = 0
  }

  /** To all: here we are. */
  hello(): Hello {
    return this.helloWith(this.#introductions.askAll(this.#options.clock.now()))
  }

  helloWith(question: number): Hello {
    const { facts, destinations } = this.#options
    return { kind: 'hello', question, facts: facts(), destinations: destinations(), ...this.#states() }
  }

  /** To one whose epoch, number or destinations aren't known for sure; once per heartbeat. */
  question(instance: string): void {
    const { clock, peers, sendTo } = this.#options
    const question = this.#introductions.ask(instance, clock.now(), peers.get(instance)?.sequence)
    if (question !== undefined) sendTo(instance, this.helloWith(question))
  }

  /** Answers a hello. */
  welcome(instance: string, question: number): void {
    const { facts, destinations, holds, sendTo, sequence } = this.#options
    if (++this.#welcomes > BUS_WELCOMES) return
    sendTo(instance, {
      kind: 'welcome',
      question,
      facts: facts(),
      destinations: destinations(),
      ...this.#states(),
      holds: holds().slice(0, IDENTIFIERS_PER_FRAME),
      sequence: sequence(),
    })
  }

  /** `unasked`: an answer to no question of ours; `untracked`: one more than can be followed. */
  answered(header: BusHeader, welcome: Welcome): Proven | 'unasked' | 'untracked' {
    const now = this.#options.clock.now()
    const asked = this.#introductions.answered(header.instance, welcome.question, now)
    if (asked === undefined) return 'unasked'
    return this.#options.peers.proven(header, welcome.sequence, now, asked) ?? 'untracked'
  }

  /** What one that is proven says of itself. */
  introduce(peer: Peer, { facts, destinations, states }: Hello | Welcome): void {
    const { adopt, told } = this.#options
    if (states !== undefined) adopt(states)
    const first = peer.facts === undefined
    peer.destinations = new Set(destinations)
    if (first) told.joined(peer.instance)
    this.#compare(peer, facts)
  }

  heartbeat(peer: Peer, facts: InstanceFacts): void {
    // What is not known of it, or has changed since, is asked for.
    if (!peer.proven || peer.facts === undefined || peer.facts.digest !== facts.digest) this.question(peer.instance)
    if (peer.facts !== undefined) this.#compare(peer, facts)
  }

  #compare(peer: Peer, facts: InstanceFacts): void {
    const differs = facts.digest !== this.#options.facts().digest
    if (differs && !peer.differs) this.#options.told.differs(peer.instance)
    peer.differs = differs
    peer.facts = facts
  }

  #states(): { readonly states?: readonly GivenState[] } {
    const states = this.#options.states()
    return states.length === 0 ? {} : { states: states.slice(0, IDENTIFIERS_PER_FRAME) }
  }
}
