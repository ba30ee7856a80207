/** The server's side of a PROXY header, versions 1 and 2: reads it off a new connection, says whom it announced, and leaves the rest unread. */
import type { Socket } from 'node:net'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')

/** The address that the header announces (undefined: LOCAL or UNKNOWN). Rejects, with the connection destroyed, when there is none. */
export async function readProxyHeader(socket: Socket): Promise<string | undefined> {
  socket.pause()
  let read = Buffer.alloc(0)
  for (;;) {
    const header = parse(read)
    if (header !== undefined) {
      const rest = read.subarray(header.length)
      if (rest.length > 0) socket.unshift(rest)
      return header.client
    }
    const chunk: unknown = socket.read() ?? (await readable(socket))
    if (chunk instanceof Buffer) read = Buffer.concat([read, chunk])
    if (read.length > 4096 || socket.destroyed || socket.readableEnded) {
      socket.destroy()
      throw new Error(`no PROXY header: ${read.subarray(0, 60).toString('latin1')}`)
    }
  }
}

function readable(socket: Socket): Promise<undefined> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ['readable', 'end', 'close', 'error']) socket.off(event, done)
      resolve(undefined)
    }
    for (const event of ['readable', 'end', 'close', 'error']) socket.on(event, done)
  })
}

function parse(read: Buffer): { readonly client: string | undefined; readonly length: number } | undefined {
  if (read.length >= 16 && read.subarray(0, 12).equals(SIGNATURE)) {
    const length = 16 + read.readUInt16BE(14)
    if (read.length < length) return undefined
    const [command, family] = [read[12] ?? 0, (read[13] ?? 0) >> 4]
    if (command !== 0x21) return { client: undefined, length }
    if (family === 1) return { client: [...read.subarray(16, 20)].join('.'), length }
    return { client: read.subarray(16, 32).toString('hex'), length }
  }
  const end = read.indexOf('\r\n')
  if (end < 0 || end > 107) return undefined
  const line = /^PROXY (?:TCP[46] (\S+)|UNKNOWN)/.exec(read.subarray(0, end).toString('latin1'))
  return line === null ? undefined : { client: line[1], length: end + 2 }
}
