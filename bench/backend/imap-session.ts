/**
 * A session of the stub IMAP server: just enough that every proxy can log in (LOGIN with quoted strings or literals,
 * AUTHENTICATE PLAIN, CAPABILITY, ID, NOOP), a FETCH that sends as many bytes as it names, and LOGOUT. Any password logs in.
 */
import type { Socket } from 'node:net'

const CAPABILITIES = 'IMAP4rev1 SASL-IR LITERAL+ ID ENABLE AUTH=PLAIN'
const GREETING = Buffer.from(`* OK [CAPABILITY ${CAPABILITIES}] stub ready\r\n`)
const CONTINUE = Buffer.from('+ go on\r\n')
const PAYLOAD = Buffer.alloc(1 << 18, 'The quick brown fox jumps over the lazy dog, and mail goes on.\r\n')
const LITERAL = /\{(\d+)\+?\}$/

export function serveImap(socket: Socket): void {
  let pending = ''
  /** Characters of `pending` that are known to hold no end of a command. */
  let command = ''
  let expected = 0
  let authTag: string | undefined

  const run = (line: string): void => {
    if (authTag !== undefined) {
      socket.write(`${authTag} OK [CAPABILITY ${CAPABILITIES}] logged in\r\n`)
      authTag = undefined
      return
    }
    const [tag = '', word = '', first, second] = line.split(' ')
    switch (word.toUpperCase()) {
      case 'LOGIN':
        socket.write(`${tag} OK [CAPABILITY ${CAPABILITIES}] logged in\r\n`)
        break
      case 'AUTHENTICATE':
        if (second === undefined) {
          authTag = tag
          socket.write('+ \r\n')
        } else socket.write(`${tag} OK [CAPABILITY ${CAPABILITIES}] logged in\r\n`)
        break
      case 'CAPABILITY':
        socket.write(`* CAPABILITY ${CAPABILITIES}\r\n${tag} OK done\r\n`)
        break
      case 'ID':
        socket.write(`* ID NIL\r\n${tag} OK done\r\n`)
        break
      case 'FETCH':
        send(socket, tag, Number(first))
        break
      case 'LOGOUT':
        socket.end(`* BYE logging out\r\n${tag} OK done\r\n`)
        break
      default:
        socket.write(`${tag} OK done\r\n`)
    }
  }

  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => {
    pending += chunk.toString('latin1')
    for (;;) {
      if (expected > 0) {
        if (pending.length < expected) return
        command += pending.slice(0, expected)
        pending = pending.slice(expected)
        expected = 0
      }
      const end = pending.indexOf('\r\n')
      if (end === -1) return
      command += pending.slice(0, end)
      pending = pending.slice(end + 2)
      const literal = command.endsWith('}') ? LITERAL.exec(command) : null
      if (literal !== null) {
        expected = Number(literal[1])
        command = command.slice(0, literal.index)
        if (!literal[0].endsWith('+}')) socket.write(CONTINUE)
        continue
      }
      const whole = command
      command = ''
      run(whole)
    }
  })
  socket.write(GREETING)
}

function send(socket: Socket, tag: string, bytes: number): void {
  let left = bytes
  const more = (): void => {
    while (left > 0) {
      const part = left >= PAYLOAD.length ? PAYLOAD : PAYLOAD.subarray(0, left)
      left -= part.length
      if (!socket.write(part) && left > 0) return void socket.once('drain', more)
    }
    socket.write(`)\r\n${tag} OK done\r\n`)
  }
  socket.write(`* 1 FETCH (BODY[] {${bytes}}\r\n`)
  more()
}
