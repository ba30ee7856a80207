/**
 * A mailbox of the demo's mail servers: messages in memory, with unique numbers, flags and a bound on their sum. It
 * tells whoever watches that something changed; what a watcher then says to its client is the watcher's business,
 * because each session has sequence numbers of its own (RFC 9051 §5.5).
 */

/** What one mailbox may hold, in bytes. */
const MAILBOX_BYTES = 256 * 1024 * 1024

export interface Message {
  readonly uid: number
  readonly raw: Buffer
  readonly received: Date
  readonly flags: Set<string>
  /** Counts changes of the flags, so that a session knows what it has already told. */
  changes: number
}

export class Mailbox {
  readonly name: string
  readonly uidValidity: number
  readonly messages: Message[] = []
  #nextUid = 1
  #bytes = 0
  readonly #watchers = new Set<() => void>()

  constructor(name: string, uidValidity: number) {
    this.name = name
    this.uidValidity = uidValidity
  }

  get nextUid(): number {
    return this.#nextUid
  }

  /** Calls back after every change, until the returned function is called. */
  watch(callback: () => void): () => void {
    this.#watchers.add(callback)
    return () => this.#watchers.delete(callback)
  }

  /** Adds a message; undefined when the mailbox is full. */
  append(raw: Buffer, flags: Iterable<string>, received: Date): Message | undefined {
    if (this.#bytes + raw.length > MAILBOX_BYTES) return undefined
    const message = { uid: this.#nextUid++, raw, received, flags: new Set(flags), changes: 0 }
    this.messages.push(message)
    this.#bytes += raw.length
    this.#changed()
    return message
  }

  setFlags(message: Message, mode: 'set' | 'add' | 'remove', flags: readonly string[]): void {
    if (mode === 'set') message.flags.clear()
    for (const flag of flags) {
      if (mode === 'remove') message.flags.delete(flag)
      else message.flags.add(flag)
    }
    message.changes++
    this.#changed()
  }

  /** Removes what carries \Deleted, of the messages that `which` admits. */
  expunge(which: (message: Message) => boolean): void {
    for (let index = this.messages.length - 1; index >= 0; index--) {
      const message = this.messages[index]
      if (message === undefined || !message.flags.has('\\Deleted') || !which(message)) continue
      this.messages.splice(index, 1)
      this.#bytes -= message.raw.length
    }
    this.#changed()
  }

  #changed(): void {
    for (const callback of this.#watchers) callback()
  }
}
