/**
 * A request's body on its way: part of it may have been read already, to find the account's name in it; it goes to the
 * backend first. Back-pressure all the way: the client is read no faster than the backend takes it.
 */
import type { Readable, Writable } from 'node:stream'
import type { Halt } from '../../destination/halt.ts'
import { SignalboxError } from '../../errors.ts'
import type { ClientSide } from './client-side.ts'
import type { Traffic } from './traffic.ts'

/** The client's side of a body. */
type BodySource = Pick<ClientSide, 'body' | 'cut' | 'ended'>

export class RequestBody {
  readonly #source: Readable
  readonly #client: BodySource
  #read: Buffer[] = []
  /** The client has sent all of it. */
  #complete: boolean
  /** The backend doesn't take it as fast. */
  #held = false
  #stop: (() => void) | undefined

  constructor(client: BodySource) {
    this.#client = client
    this.#source = client.body
    this.#complete = client.ended
    if (client.ended) this.#source.resume()
  }

  get complete(): boolean {
    return this.#complete
  }

  /** It is the client that is waited for. */
  get starved(): boolean {
    return !this.#complete && !this.#held
  }

  /** The head has told that nothing will come. */
  nothing(): void {
    this.#complete = true
    this.#source.resume()
  }

  /** Reads up to `most` bytes (a piece more) and keeps them. Rejects with why `halt` has ended it. */
  ahead(most: number, halt: Halt, moved: (bytes: number) => void): Promise<Buffer> {
    if (this.#complete) return Promise.resolve(Buffer.concat(this.#read))
    const source = this.#source
    return halt.step((resolve) => {
      let length = 0
      const stop = (): void => {
        source.pause()
        source.off('data', onData)
        source.off('end', onEnd)
      }
      const onData = (chunk: Buffer): void => {
        this.#read.push(chunk)
        length += chunk.length
        moved(chunk.length)
        if (length < most) return
        stop()
        resolve(Buffer.concat(this.#read).subarray(0, most))
      }
      const onEnd = (): void => {
        if (this.#client.cut) return
        this.#complete = true
        stop()
        resolve(Buffer.concat(this.#read))
      }
      source.on('data', onData)
      source.on('end', onEnd)
      return stop
    })
  }

  /** All of it to the backend; `ended` when the last byte was written. */
  sendTo(sink: Writable, traffic: Traffic, ended: () => void): void {
    if (this.#stop !== undefined) throw new SignalboxError('INTERNAL', 'a body is sent once')
    for (const chunk of this.#read) {
      traffic.sent(chunk.length)
      sink.write(chunk)
    }
    this.#read = []
    if (this.#complete) {
      this.#stop = () => {}
      return ended()
    }
    const source = this.#source
    const onData = (chunk: Buffer): void => {
      traffic.received(chunk.length)
      traffic.sent(chunk.length)
      if (sink.write(chunk)) return
      this.#held = true
      source.pause()
    }
    const onDrain = (): void => {
      this.#held = false
      source.resume()
    }
    const onEnd = (): void => {
      // Half a body must not pass for a whole one: the exchange hears that the client is gone, and ends.
      if (this.#client.cut) return
      this.#complete = true
      ended()
    }
    source.on('data', onData)
    source.on('end', onEnd)
    sink.on('drain', onDrain)
    this.#stop = () => {
      source.off('data', onData)
      source.off('end', onEnd)
      sink.off('drain', onDrain)
    }
    source.resume()
  }

  /** Nobody wants the rest: it is read and dropped. Calls back when it is through. */
  drop(through: () => void): void {
    this.#stop?.()
    this.#stop = () => {}
    this.#read = []
    if (this.#complete) return through()
    this.#source.once('end', () => {
      this.#complete = true
      through()
    })
    this.#source.resume()
  }
}
