/**
 * Node keeps a list of the sockets that went over a channel, one for each address that they were accepted on, on either
 * side and for as long as the worker lives; each list listens to `exit`, `internalMessage` and, while it waits for an
 * answer, `disconnect` of the channel. So many listeners are no leak but as many as there are addresses, which Node can't
 * know: its warning at eleven is moved by exactly their number, and what leaks beyond them is still found.
 *
 * Addresses of before a reload count, too: their lists stay.
 */
import { EventEmitter } from 'node:events'
import type { NumberedListener } from '../listener/numbered.ts'

const known = new WeakMap<EventEmitter, Set<string>>()

/** @param channel the worker's ChildProcess, or `process` in the worker */
export function expectSocketLists(channel: EventEmitter, listeners: readonly Pick<NumberedListener, 'listener'>[]): void {
  const addresses = known.get(channel) ?? new Set()
  known.set(channel, addresses)
  for (const { listener } of listeners) for (const { host, port } of listener.bind) addresses.add(`${host} ${port}`)
  channel.setMaxListeners(EventEmitter.defaultMaxListeners + addresses.size)
}
