/**
 * How long each worker has been silent. What counts is silence during which somebody listened: when this process itself
 * stood still (a frozen host, a long pause of its own), the rounds came late, and by that much nobody is blamed. A worker of
 * which nothing has been heard yet is given the time that starting may take instead.
 *
 * It judges; asking and killing are the supervisor's.
 */
import type { Clock } from '../clock.ts'
import { WORKER_PING_MS, WORKER_STALL_MS, WORKER_START_MS } from '../limits.ts'

interface Watched {
  /** Clock time of the last sign of life, put off by our own standstills. */
  heard: number
  /** Something has been heard of it since it was started. */
  started: boolean
  /** It was found silent. */
  found: boolean
}

/** A worker that has been silent for too long. */
export interface Silent {
  readonly worker: number
  /** Milliseconds of silence. */
  readonly silent: number
  /** False: nothing has ever been heard of it. */
  readonly started: boolean
}

export class Vigil {
  readonly #clock: Clock
  readonly #workers = new Map<number, Watched>()
  #round: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#round = clock.now()
  }

  /** A worker's process was started. */
  began(worker: number): void {
    this.#workers.set(worker, { heard: this.#clock.now(), started: false, found: false })
  }

  /** A sign of life. */
  heard(worker: number): void {
    const watched = this.#workers.get(worker)
    if (watched === undefined) return
    watched.heard = this.#clock.now()
    watched.started = true
  }

  gone(worker: number): void {
    this.#workers.delete(worker)
  }

  /** Whether anything has been heard of it. */
  started(worker: number): boolean {
    return this.#workers.get(worker)?.started === true
  }

  /** Whether it has given a sign of life within WORKER_STALL_MS, as far as anybody listened. */
  awake(worker: number): boolean {
    const watched = this.#workers.get(worker)
    if (watched === undefined || !watched.started) return false
    const now = this.#clock.now()
    return now - watched.heard - this.#late(now) <= WORKER_STALL_MS
  }

  /** To be called every WORKER_PING_MS: who has been silent for too long. Each is named once. */
  round(): readonly Silent[] {
    const now = this.#clock.now()
    const late = this.#late(now)
    this.#round = now
    const silent: Silent[] = []
    for (const [worker, watched] of this.#workers) {
      watched.heard = Math.min(now, watched.heard + late)
      const ms = now - watched.heard
      if (watched.found || ms <= (watched.started ? WORKER_STALL_MS : WORKER_START_MS)) continue
      watched.found = true
      silent.push({ worker, silent: ms, started: watched.started })
    }
    return silent
  }

  /** Milliseconds by which the round is late: nobody listened for that long. */
  #late(now: number): number {
    return Math.max(0, now - this.#round - WORKER_PING_MS)
  }
}
