/**
 * What carries the frames of the bus. It knows channels and bytes, nothing of what they mean; who is up is decided by
 * whoever hears its own heartbeat, not by the state of a connection.
 */
export interface BusListener {
  /** A frame arrived on a channel that is subscribed to. */
  frame(channel: string, bytes: Buffer): void
  /** The subscription was made anew: frames may have been missed. */
  resubscribed(): void
}

export interface BusTransport {
  /** Subscribes. Rejects with BUS_REFUSED (the server says no) or BUS_DOWN (not reachable). */
  open(channels: readonly string[], listener: BusListener): Promise<void>
  /** Sends, in order. Rejects with BUS_DOWN when it could not be handed to the server within `deadline` milliseconds. */
  publish(channel: string, bytes: Buffer, deadline: number): Promise<void>
  /** Subscribers of a channel, this one included; undefined where that can't be told. */
  subscribers(channel: string, deadline: number): Promise<number | undefined>
  close(): Promise<void>
}
