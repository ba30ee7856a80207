/** A kept connection of the stub HTTP server: the same answer to every request, which has no body. */
import type { Socket } from 'node:net'

export function answerWith(bodySize: number): (socket: Socket) => void {
  const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${bodySize}\r\n\r\n${'x'.repeat(bodySize)}`)
  return (socket) => {
    let pending = ''
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1')
      for (let end = pending.indexOf('\r\n\r\n'); end !== -1; end = pending.indexOf('\r\n\r\n')) {
        pending = pending.slice(end + 4)
        socket.write(answer)
      }
    })
  }
}
