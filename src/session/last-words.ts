/**
 * Closing a client's connection with something left to say. The words get limits.LAST_WORDS_MS to leave, no more; what
 * the client still sends is read and dropped, because its reset could overtake them otherwise.
 */
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { LAST_WORDS_MS } from '../limits.ts'

export function lastWords(socket: Socket, words: Buffer, clock: Clock): void {
  if (words.length > 0 && !socket.destroyed) socket.write(words)
  socket.removeAllListeners('data')
  socket.resume()
  socket.destroySoon()
  if (socket.destroyed) return
  const patience = clock.after(LAST_WORDS_MS, () => socket.destroy())
  socket.once('close', () => patience.cancel())
}
