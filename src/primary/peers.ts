/**
 * The peers of an instance, as a table without clock or transport: who has been heard, at which sequence, who is lost. It
 * follows every sender's sequence and says when something may have been missed. Who appears, in whatever life, may have
 * written things that nobody heard of, so that no first frame counts as the next one. What has left is remembered, so that
 * a recorded frame can't bring it back. A name that has never answered us is only a name: it gives way when the table is
 * full, and goes when it is silent. Bounded by BUS_PEERS. Owned by the fleet actor.
 */
import type { BusHeader } from '../bus/frame.ts'
import type { InstanceFacts } from '../bus/payload.ts'
import { BUS_OWED, BUS_PEERS } from '../limits.ts'

/** What a frame's header says about the frames before it. All but `next` and `repeated` mean that something may be missing. */
export type Continuity =
  /** The next one. */
  | 'next'
  /** Heard already, or a higher number was: a recording, or the higher one was forged. Only asking its sender can tell. */
  | 'repeated'
  /** Numbers before it are missing. */
  | 'gap'
  /** The first frame of a life, of one never heard before or that had said bye. What it did in lives that were not heard nobody knows. */
  | 'new'
  /** Never heard before, and this is not its first frame. */
  | 'unheard'
  /** The sender has started anew; how its earlier life ended was not heard. */
  | 'restarted'
  /** Of an epoch before the one that is followed: a replay, or the sender's clock was set back. Only asking it can tell. */
  | 'older'
  /** One more than can be followed. */
  | 'untracked'

export interface Peer {
  readonly instance: string
  readonly epoch: number
  sequence: number
  /** Clock time of its last frame that was new. */
  heard: number
  /** It has answered a question of ours in this epoch: what is heard of it is no recording. */
  proven: boolean
  facts: InstanceFacts | undefined
  /** Names of its destinations; undefined until it has said them. */
  destinations: ReadonlySet<string> | undefined
  /** Whether its configuration was found to differ from ours. */
  differs: boolean
  /** Clock time at which it was found silent; undefined while it is live. */
  lostAt: number | undefined
  /** Highest sequence of ours that it has acknowledged. */
  acknowledged: number
  /** Changes of ours in its life here that it has not acknowledged, the last BUS_OWED at most. */
  readonly unacknowledged: number
  gaps: number
}

interface Known extends Peer {
  readonly owed: Set<number>
}

export interface Followed {
  readonly continuity: Continuity
  /** Undefined: the frame is of nobody who is followed. */
  readonly peer: Peer | undefined
  /** It was lost. */
  readonly returned: boolean
}

export interface Proven {
  readonly peer: Peer
  /** What may have been missed; undefined: nothing. `rewound`: higher numbers than its own had been heard under its name. */
  readonly missed: 'unheard' | 'rewound' | undefined
}

/** The last that is known of one who isn't followed any more. */
interface Ended {
  readonly epoch: number
  readonly sequence: number
  /** It said bye, and nothing can have been missed after that. */
  readonly bye: boolean
}

export class Peers {
  readonly #limit: number
  readonly #peers = new Map<string, Known>()
  readonly #ended = new Map<string, Ended>()

  constructor(limit = BUS_PEERS) {
    this.#limit = limit
  }

  get(instance: string): Peer | undefined {
    return this.#peers.get(instance)
  }

  /** Every peer that is known, lost ones included. */
  all(): readonly Peer[] {
    return [...this.#peers.values()]
  }

  live(): readonly Peer[] {
    return this.all().filter((peer) => peer.lostAt === undefined)
  }

  /** Those lost no longer than `memory` milliseconds ago: they may still serve what they have cached, and an answer must name them. */
  missed(now: number, memory: number): readonly Peer[] {
    return this.all().filter((peer) => peer.lostAt !== undefined && now - peer.lostAt <= memory)
  }

  /** Takes note of a frame for all. */
  follow(header: BusHeader, now: number): Followed {
    const known = this.#peers.get(header.instance)
    if (known === undefined) return this.#appeared(header, now)
    if (header.epoch < known.epoch) return { continuity: 'older', peer: known, returned: false }
    if (header.epoch > known.epoch) {
      return { continuity: 'restarted', peer: this.#replace(known, header, header.sequence, now), returned: false }
    }
    // Anybody can repeat it: it is no sign of life.
    if (header.sequence <= known.sequence) return { continuity: 'repeated', peer: known, returned: false }
    const next = header.sequence === known.sequence + 1
    const returned = known.lostAt !== undefined
    known.sequence = header.sequence
    known.heard = now
    known.lostAt = undefined
    if (!next) known.gaps++
    return { continuity: next ? 'next' : 'gap', peer: known, returned }
  }

  /**
   * A peer has answered a question of ours: this is its epoch, whatever was believed before, and `sequence` the last number
   * that it has used. `asked`: the last number that was known of this life when the question was put, -1 if that wasn't
   * noted; a number below it shows that what was known was not the peer's own. Undefined: one more than can be followed.
   */
  proven(header: BusHeader, sequence: number, now: number, asked = -1): Proven | undefined {
    const known = this.#peers.get(header.instance)
    if (known !== undefined && known.epoch === header.epoch) {
      known.proven = true
      // Its sequence is followed on the channel for all: taking a higher one from here would hide a gap.
      if (sequence >= asked || sequence >= known.sequence) return { peer: known, missed: undefined }
      known.sequence = sequence
      known.gaps++
      return { peer: known, missed: 'rewound' }
    }
    const peer = known === undefined ? this.#admit(header, sequence, now, true) : this.#replace(known, header, sequence, now)
    if (peer === undefined) return undefined
    peer.proven = true
    return { peer, missed: 'unheard' }
  }

  /** Marks those lost that have been silent for `patience` milliseconds, and returns them. */
  silent(now: number, patience: number): readonly Peer[] {
    const lost = this.live().filter((peer) => now - peer.heard >= patience)
    for (const peer of lost) peer.lostAt = now
    return lost
  }

  /** Drops names that have been silent for longer than they must be named (`memory`), and have never answered us: nobody may be behind them. */
  expire(now: number, memory: number): void {
    for (const { instance, lostAt, proven } of this.#peers.values()) {
      if (!proven && lostAt !== undefined && now - lostAt > memory) this.#end(instance, false)
    }
  }

  /** A change of ours is about to be sent: those who must acknowledge it. */
  expect(sequence: number): readonly string[] {
    const instances: string[] = []
    for (const { instance, lostAt, owed } of this.#peers.values()) {
      if (lostAt !== undefined) continue
      instances.push(instance)
      owed.add(sequence)
      if (owed.size <= BUS_OWED) continue
      // The oldest: a set keeps the order of insertion.
      for (const oldest of owed) {
        owed.delete(oldest)
        break
      }
    }
    return instances
  }

  /** A peer has acknowledged a change of ours. */
  acknowledged(instance: string, sequence: number): void {
    const peer = this.#peers.get(instance)
    if (peer === undefined) return
    peer.owed.delete(sequence)
    if (sequence > peer.acknowledged) peer.acknowledged = sequence
  }

  /** It said bye. */
  left(instance: string): void {
    this.#end(instance, true)
  }

  /** An operator forgets it. False: not known. */
  forget(instance: string): boolean {
    return this.#end(instance, false)
  }

  #appeared(header: BusHeader, now: number): Followed {
    const ended = this.#ended.get(header.instance)
    if (ended !== undefined && header.epoch < ended.epoch) return { continuity: 'older', peer: undefined, returned: false }
    const sameLife = ended?.epoch === header.epoch
    if (ended !== undefined && sameLife && header.sequence <= ended.sequence) {
      return { continuity: 'repeated', peer: undefined, returned: false }
    }
    const peer = this.#admit(header, header.sequence, now, false)
    if (peer === undefined) return { continuity: 'untracked', peer, returned: false }
    if (sameLife) return { continuity: 'gap', peer, returned: true }
    // The first frame of an epoch is its hello, number 1: with anything else we came late.
    const first = header.kind === 'hello' && header.sequence === 1
    if (ended === undefined) return { continuity: first ? 'new' : 'unheard', peer, returned: false }
    return { continuity: first && ended.bye ? 'new' : 'restarted', peer, returned: false }
  }

  #admit(header: BusHeader, sequence: number, now: number, answers: boolean): Known | undefined {
    if (this.#peers.size >= this.#limit && !this.#makeRoom(answers)) return undefined
    const peer = newcomer(header, sequence, now)
    this.#ended.delete(header.instance)
    this.#peers.set(header.instance, peer)
    return peer
  }

  #replace(known: Known, header: BusHeader, sequence: number, now: number): Known {
    const peer = newcomer(header, sequence, now)
    peer.gaps = known.gaps + 1
    this.#peers.set(header.instance, peer)
    return peer
  }

  /** A name that has never answered us gives way when it is silent, and at any time to one that has answered; those stay until an operator forgets them. */
  #makeRoom(forOneWhoAnswers: boolean): boolean {
    for (const { instance, lostAt, proven } of this.#peers.values()) {
      if (!proven && (lostAt !== undefined || forOneWhoAnswers)) return this.#end(instance, false)
    }
    return false
  }

  #end(instance: string, bye: boolean): boolean {
    const peer = this.#peers.get(instance)
    if (peer === undefined) return false
    this.#peers.delete(instance)
    // Names that were made up must not push out what is remembered of the real.
    if (!peer.proven) return true
    this.#ended.delete(instance)
    this.#ended.set(instance, { epoch: peer.epoch, sequence: peer.sequence, bye })
    if (this.#ended.size > this.#limit) {
      // The oldest: a map keeps the order of insertion.
      const [oldest] = this.#ended.keys()
      if (oldest !== undefined) this.#ended.delete(oldest)
    }
    return true
  }
}

function newcomer({ instance, epoch }: BusHeader, sequence: number, now: number): Known {
  const owed = new Set<number>()
  return {
    owed,
    instance,
    epoch,
    sequence,
    heard: now,
    proven: false,
    facts: undefined,
    destinations: undefined,
    differs: false,
    lostAt: undefined,
    acknowledged: 0,
    get unacknowledged() {
      return owed.size
    },
    gaps: 0,
  }
}
