/**
 * What carries the frames of the bus. It knows channels and bytes, nothing of what they mean; who is up is decided by
 * whoever hears its own heartbeat, not by the state of a connection.
 */
export interface BusListener {
  /** A frame arrived on a channel that is subscribed to. */
  frame(channel: string, bytes: Buffer): void
  /** The subscription was made anew, or for the first time after `open` had resolved: frames may have been missed. */
  resubscribed(): void
}

export interface BusTransport {
  /**
   * Subscribes. Resolves with true when that is done. Rejects with BUS_REFUSED (the server says no) or BUS_DOWN (not
   * reachable); with `allowUnavailable` it resolves with false instead of BUS_DOWN and goes on trying: `resubscribed`
   * tells when it has succeeded.
   */
  open(channels: readonly string[], listener: BusListener, allowUnavailable: boolean): Promise<boolean>
  /**
   * Sends, in order. Rejects with BUS_DOWN when it could not be handed to the server within `deadline` milliseconds (it
   * may have been sent all the same), with BUS_REFUSED when the server says no.
   */
  publish(channel: string, bytes: Buffer, deadline: number): Promise<void>
  /** Subscribers of a channel, this one included; undefined where that can't be told. Never rejects. */
  subscribers(channel: string, deadline: number): Promise<number | undefined>
  /** What is wrong at the moment, in words without secrets; undefined: nothing that it knows of. */
  trouble(): string | undefined
  /** Idempotent. */
  close(): Promise<void>
}
