/**
 * Loaded into the proxy before its own code (`node --import`): whenever a worker has made routes void, it writes
 * which, who, and when (the system's monotonic clock, the same in all processes) to the port in the address it is loaded by:
 * void-probe.ts?port=1234. The time is taken before anything is written, so telling is in nobody's figure.
 */
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { Reply } from '../src/actor/message.ts'
import { Resolver } from '../src/resolver/resolver.ts'
import type { ResolverMessage } from '../src/resolver/resolver.ts'

const port = Number(new URL(import.meta.url).searchParams.get('port'))
const receive: (this: Resolver, message: ResolverMessage, reply: Reply) => void = Reflect.get(Resolver.prototype, 'receive')
let socket: Socket | undefined

Reflect.set(Resolver.prototype, 'receive', function receiveAndTell(this: Resolver, message: ResolverMessage, reply: Reply): void {
  receive.call(this, message, reply)
  if (message.type !== 'invalidate') return
  const at = process.hrtime.bigint()
  // The proxy's end must not wait for it.
  socket ??= connect({ host: '127.0.0.1', port, noDelay: true }).unref()
  for (const identifier of message.identifiers) socket.write(`${identifier} ${process.pid} ${at}\n`)
})
