/**
 * A regression made on purpose: loaded into the proxy before its own code (`node --import`), it burns processor time
 * whenever a connection is dialled, which a login does once. It shows that `--check` would see such a change. How much
 * stands in the address it is loaded by: regression.ts?microseconds=20.
 */
import { Socket } from 'node:net'

const microseconds = Number(new URL(import.meta.url).searchParams.get('microseconds') ?? 0)

// The prototype is what every socket of the process dials through.
const connect = Reflect.get(Socket.prototype, 'connect') as (...args: unknown[]) => Socket

function burn(): void {
  // By the clock: the kernel brings a running thread's own time up to date only every few milliseconds.
  const until = performance.now() + microseconds / 1_000
  while (performance.now() < until);
}

Reflect.set(Socket.prototype, 'connect', function dialledSlowly(this: Socket, ...args: unknown[]): Socket {
  burn()
  return connect.apply(this, args)
})
