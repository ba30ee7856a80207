/**
 * The peers of an instance, as a table without clock or transport: who has been heard, at which sequence, who is lost. It
 * follows every sender's sequence and says when something may have been missed. Owned by the fleet actor.
 */
import type { BusHeader } from '../bus/frame.ts'
import type { InstanceFacts } from '../bus/payload.ts'

/** What a frame's header says about the frames before it. */
export type Continuity =
  /** The next one, or the first of a peer that has just introduced itself. */
  | 'next'
  /** Heard already: nothing new. */
  | 'repeated'
  /** Some are missing, the sender has started anew, or it was never introduced: anything may have been missed. */
  | 'gap'

export interface Peer {
  readonly instance: string
  epoch: number
  sequence: number
  /** Clock time of its last frame. */
  heard: number
  facts: InstanceFacts | undefined
  /** Names of its destinations; undefined until it has said them. */
  destinations: ReadonlySet<string> | undefined
  /** Clock time at which it was found silent; undefined while it is live. */
  lostAt: number | undefined
  /** Highest sequence of ours that it has acknowledged. */
  acknowledged: number
  gaps: number
}

export class Peers {
  readonly #peers = new Map<string, Peer>()

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

  /** Lost ones that may still serve what they have cached: an answer must name them. */
  missed(now: number, memory: number): readonly Peer[] {
    return this.all().filter((peer) => peer.lostAt !== undefined && now - peer.heard < memory)
  }

  /** Takes note of a frame for all. Returns the peer and what its number means. */
  follow(header: BusHeader, now: number): { readonly peer: Peer; readonly continuity: Continuity; readonly newEpoch: boolean; readonly returned: boolean } {
    const known = this.#peers.get(header.instance)
    if (known === undefined || known.epoch !== header.epoch) {
      // An older epoch than the one that is followed: a frame that was long on its way.
      if (known !== undefined && header.epoch < known.epoch) {
        return { peer: known, continuity: 'repeated', newEpoch: false, returned: false }
      }
      const peer = newcomer(header, now)
      if (known !== undefined) peer.gaps = known.gaps
      this.#peers.set(header.instance, peer)
      // The first frame of an epoch is its hello, number 1: with anything else we came late, or it restarted unheard.
      const introduced = known === undefined && header.kind === 'hello' && header.sequence === 1
      if (!introduced && known !== undefined) peer.gaps++
      return { peer, continuity: introduced ? 'next' : 'gap', newEpoch: known !== undefined, returned: false }
    }
    const returned = known.lostAt !== undefined
    known.heard = now
    known.lostAt = undefined
    if (header.sequence <= known.sequence) return { peer: known, continuity: 'repeated', newEpoch: false, returned }
    const next = header.sequence === known.sequence + 1
    known.sequence = header.sequence
    if (!next) known.gaps++
    return { peer: known, continuity: next ? 'next' : 'gap', newEpoch: false, returned }
  }

  /** A frame to us alone: it says that the sender is there, and, being a welcome, from where to follow it. */
  introduced(header: BusHeader, sequence: number, now: number): Peer {
    const known = this.#peers.get(header.instance)
    if (known !== undefined && known.epoch >= header.epoch) {
      known.heard = now
      known.lostAt = undefined
      // Its sequence is followed on the channel for all: taking it from here could hide a gap.
      return known
    }
    const peer = newcomer(header, now)
    peer.sequence = sequence
    this.#peers.set(header.instance, peer)
    return peer
  }

  /** Marks those lost that have been silent for `patience` milliseconds, and returns them. */
  silent(now: number, patience: number): readonly Peer[] {
    const lost = this.live().filter((peer) => now - peer.heard >= patience)
    for (const peer of lost) peer.lostAt = now
    return lost
  }

  /** It said bye, or an operator forgets it. False: not known. */
  remove(instance: string): boolean {
    return this.#peers.delete(instance)
  }
}

function newcomer(header: BusHeader, now: number): Peer {
  return {
    instance: header.instance,
    epoch: header.epoch,
    sequence: header.sequence,
    heard: now,
    facts: undefined,
    destinations: undefined,
    lostAt: undefined,
    acknowledged: 0,
    gaps: 0,
  }
}
