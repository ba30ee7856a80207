/**
 * Where log lines leave the process: asynchronous writes to a descriptor that other processes write to as well. Lines are
 * gathered into pieces of at most LOG_LINE bytes, which the kernel keeps whole (in a file pieces of any size are, so there they
 * are LOG_BLOCK), and wait at most LOG_FLUSH_MS for company.
 * A reader that stands still or a full disk never blocks and never ends the process: what can't be written waits up to
 * LOG_BUFFER, then lines are dropped and counted. Not sonic-boom (what pino would use), because its flush at the end of a
 * process tries for ever when the disk is full, and the process then never ends.
 */
import { fstatSync, write, writeSync } from 'node:fs'
import type { Clock, Timer } from '../clock.ts'
import { LOG_BLOCK, LOG_BUFFER, LOG_END_MS, LOG_FLUSH_MS, LOG_LINE, LOG_RETRY_MS } from '../limits.ts'

/** Pause between two tries at the end of a process, when there is no event loop to wait with. */
const SYNC_PAUSE_MS = 10

interface Piece {
  readonly buffer: Buffer
  used: number
}

/** How much one write may carry without being mixed up with those of other processes. */
function pieceSize(fd: number): number {
  try {
    return fstatSync(fd).isFile() ? LOG_BLOCK : LOG_LINE
  } catch {
    // Not open: the first write will say so.
    return LOG_LINE
  }
}

export class Destination {
  readonly #fd: number
  readonly #clock: Clock
  readonly #pieceSize: number
  /** Whole lines, in pieces ready to be written. */
  readonly #pieces: Piece[] = []
  /** Bytes in #pieces. */
  #bytes = 0
  /** What the kernel has not taken yet of the piece before #pieces. */
  #current: Buffer | undefined
  /** A write of #current is with the thread pool: it can be neither repeated nor taken back. */
  #inFlight = false
  #timer: Timer | undefined
  #dropped = 0
  #waiting: (() => void)[] = []
  /** Called when there is room again after `lines` lines were dropped. */
  onDropped: (lines: number) => void = () => {}

  constructor(fd: number, clock: Clock) {
    this.#fd = fd
    this.#clock = clock
    this.#pieceSize = pieceSize(fd)
  }

  /** Takes a line with its line break. */
  write(line: string): void {
    // What it takes at most: near a bound alone it has to be counted.
    let size = line.length * 3
    const last = this.#pieces.at(-1)
    const room = last === undefined ? 0 : last.buffer.length - last.used
    if (size > room || this.#bytes + size > LOG_BUFFER) size = Buffer.byteLength(line)
    if (this.#bytes + size > LOG_BUFFER) {
      this.#dropped++
      return
    }
    if (last !== undefined && size <= room) this.#append(last, line)
    else {
      const piece = { buffer: Buffer.allocUnsafe(Math.max(this.#pieceSize, size)), used: 0 }
      this.#pieces.push(piece)
      this.#append(piece, line)
    }
    this.#proceed()
  }

  #append(piece: Piece, line: string): void {
    const written = piece.buffer.write(line, piece.used)
    piece.used += written
    this.#bytes += written
  }

  /** Resolves when all that was taken so far has been written, at the latest after LOG_END_MS. */
  flush(): Promise<void> {
    return new Promise((resolve) => {
      const deadline = this.#clock.after(LOG_END_MS, resolve, { keepAlive: true })
      this.#waiting.push(() => {
        deadline.cancel()
        resolve()
      })
      this.#proceed()
    })
  }

  /** Writes what waits, blocking. Gives up on an error, or on a reader that stands still for `patience` milliseconds. */
  flushSync(patience = LOG_END_MS): void {
    let tries = patience / SYNC_PAUSE_MS
    while (tries > 0) {
      const piece = this.#inFlight ? undefined : this.#current
      const next = piece ?? this.#take()
      if (next === undefined) return this.#proceed()
      let written = 0
      try {
        written = writeSync(this.#fd, next)
      } catch (thrown) {
        // Anything but "later" is final here: there is nobody left to tell, the log itself is what failed.
        tries = isLater(thrown) ? tries - 1 : 0
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SYNC_PAUSE_MS)
      }
      this.#keep(next.subarray(written))
    }
  }

  /** What is left of a piece after a blocking write: back to the front. */
  #keep(rest: Buffer): void {
    if (!this.#inFlight) this.#current = rest.length > 0 ? rest : undefined
    else if (rest.length > 0) {
      this.#pieces.unshift({ buffer: rest, used: rest.length })
      this.#bytes += rest.length
    }
  }

  #take(): Buffer | undefined {
    const piece = this.#pieces.shift()
    if (piece === undefined) return undefined
    this.#bytes -= piece.used
    return piece.buffer.subarray(0, piece.used)
  }

  /** Writes when there is enough or somebody waits for it, else sets the timer. */
  #proceed(): void {
    if (this.#current !== undefined) return
    const idle = this.#pieces.length === 0
    if (idle) {
      for (const done of this.#waiting.splice(0)) done()
      return
    }
    if (this.#isDue || this.#waiting.length > 0) this.#begin()
    else this.#timer ??= this.#clock.after(LOG_FLUSH_MS, () => this.#begin())
  }

  /** A piece is full: another one was begun, or the next line would hardly fit. */
  get #isDue(): boolean {
    return this.#pieces.length > 1 || this.#bytes >= this.#pieceSize
  }

  #begin(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#current !== undefined) return
    this.#current = this.#take()
    this.#writeCurrent()
  }

  #writeCurrent(): void {
    const current = this.#current
    if (current === undefined) return
    this.#inFlight = true
    write(this.#fd, current, (error, written) => {
      this.#inFlight = false
      if (error !== null) {
        // Kept and tried again: a reader may go on, a disk get room. Until then the bound on what waits holds.
        this.#clock.after(LOG_RETRY_MS, () => this.#writeCurrent())
        return
      }
      this.#current = written < current.length ? current.subarray(written) : undefined
      if (this.#current !== undefined) this.#writeCurrent()
      else this.#written()
    })
  }

  #written(): void {
    const dropped = this.#dropped
    this.#dropped = 0
    if (dropped > 0) this.onDropped(dropped)
    this.#proceed()
  }
}

function isLater(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && (thrown.code === 'EAGAIN' || thrown.code === 'EBUSY')
}
