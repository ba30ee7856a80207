/**
 * A backend of any of the four login protocols, in a few words of each, that misbehaves where a test wants it to. It
 * speaks correctly otherwise: greeting, capabilities, STARTTLS (TLS and all), and it lets every login in.
 */
import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { TLSSocket, createSecureContext } from 'node:tls'
import type { DialogueProtocol } from '../../src/config/config.ts'
import type { Issued } from './certificates.ts'

/** Where it may misbehave: in place of the greeting, of an answer, of the handshake. */
export type Phase = 'greeting' | 'capability' | 'starttls' | 'handshake' | 'login'
/** What it does there instead. */
export type Misdeed =
  /** Says nothing, and keeps the connection. */
  | { readonly do: 'nothing' }
  | { readonly do: 'close' }
  | { readonly do: 'reset' }
  | { readonly do: 'say'; readonly text: string }
  /** The right answer, with this behind it in the same packet. */
  | { readonly do: 'inject'; readonly text: string }
  /** The right answer, then a close. */
  | { readonly do: 'then-close' }

/** What a line asks for, and the answer to it. */
interface Answer {
  readonly phase: 'capability' | 'starttls' | 'login'
  readonly text: string
}

interface Speech {
  readonly greeting: string
  /** What is said without being asked once TLS is up. */
  readonly afterTls: string
  readonly answer: (line: string, secure: boolean) => Answer | undefined
}

const tagOf = (line: string): string => line.split(' ')[0] ?? ''
const SIEVE = (secure: boolean): string => `"IMPLEMENTATION" "stub"\r\n"SASL" "PLAIN XOAUTH2"\r\n"SIEVE" "fileinto"\r\n${secure ? '' : '"STARTTLS"\r\n'}OK\r\n`
const CAPABILITY = (secure: boolean): string => `CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2${secure ? '' : ' STARTTLS'}`

const SPEECHES: Readonly<Record<DialogueProtocol, Speech>> = {
  imap: {
    greeting: `* OK [${CAPABILITY(false)}] stub\r\n`,
    afterTls: '',
    answer(line, secure) {
      if (/^\S+ CAPABILITY/i.test(line)) return { phase: 'capability', text: `* ${CAPABILITY(secure)}\r\n${tagOf(line)} OK\r\n` }
      if (/^\S+ STARTTLS/i.test(line)) return { phase: 'starttls', text: `${tagOf(line)} OK go\r\n` }
      if (/^\S+ (AUTHENTICATE|LOGIN)/i.test(line)) return { phase: 'login', text: `${tagOf(line)} OK in\r\n` }
      return undefined
    },
  },
  pop3: {
    greeting: '+OK stub\r\n',
    afterTls: '',
    answer(line, secure) {
      if (/^CAPA/i.test(line)) return { phase: 'capability', text: `+OK\r\n${secure ? '' : 'STLS\r\n'}SASL PLAIN XOAUTH2\r\n.\r\n` }
      if (/^STLS/i.test(line)) return { phase: 'starttls', text: '+OK go\r\n' }
      if (/^AUTH/i.test(line)) return { phase: 'login', text: '+OK in\r\n' }
      return undefined
    },
  },
  managesieve: {
    greeting: SIEVE(false),
    afterTls: SIEVE(true),
    answer(line, secure) {
      if (/^CAPABILITY/i.test(line)) return { phase: 'capability', text: SIEVE(secure) }
      if (/^STARTTLS/i.test(line)) return { phase: 'starttls', text: 'OK\r\n' }
      if (/^AUTHENTICATE/i.test(line)) return { phase: 'login', text: 'OK\r\n' }
      return undefined
    },
  },
  submission: {
    greeting: '220 stub ESMTP\r\n',
    afterTls: '',
    answer(line, secure) {
      if (/^EHLO/i.test(line)) return { phase: 'capability', text: `250-stub\r\n${secure ? '' : '250-STARTTLS\r\n'}250 AUTH PLAIN XOAUTH2\r\n` }
      if (/^STARTTLS/i.test(line)) return { phase: 'starttls', text: '220 go\r\n' }
      if (/^AUTH/i.test(line)) return { phase: 'login', text: '235 in\r\n' }
      return undefined
    },
  },
}

export class StubSpeech {
  readonly port: number
  /** Everything that was said to it, TLS taken off, connection by connection. */
  readonly heard: string[] = []
  readonly #server: Server
  readonly #speech: Speech
  readonly #certificate: Issued | undefined
  readonly #sockets = new Set<Socket>()
  #phase: Phase | undefined
  #misdeed: Misdeed | undefined

  private constructor(server: Server, protocol: DialogueProtocol, certificate: Issued | undefined) {
    this.#server = server
    this.#speech = SPEECHES[protocol]
    this.#certificate = certificate
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket) => this.#serve(socket))
  }

  /** @param certificate with one, STARTTLS leads to a handshake */
  static async start(protocol: DialogueProtocol, certificate?: Issued): Promise<StubSpeech> {
    const server = createServer({ noDelay: true })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return new StubSpeech(server, protocol, certificate)
  }

  /** From now on it misbehaves there; without a misdeed it behaves again. Forgets what it has heard. */
  misbehave(phase?: Phase, misdeed?: Misdeed): void {
    this.#phase = phase
    this.#misdeed = misdeed
    this.heard.length = 0
  }

  /** Open connections. */
  get open(): number {
    return this.#sockets.size
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    const number = this.heard.push('') - 1
    this.#converse(socket, socket, number, false)
    this.#act(socket, socket, 'greeting', this.#speech.greeting)
  }

  /** @param raw the TCP socket under TLS; only that one can be reset */
  #converse(raw: Socket, socket: Socket, number: number, secure: boolean): void {
    let text = ''
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      this.heard[number] = (this.heard[number] ?? '') + chunk.toString('latin1')
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const line = text.slice(0, end)
        text = text.slice(end + 1)
        const answer = this.#speech.answer(line, secure)
        if (answer === undefined) continue
        const granted = this.#act(raw, socket, answer.phase, answer.text)
        if (answer.phase !== 'starttls' || !granted) continue
        socket.off('data', onData)
        this.#encrypt(socket, number)
        return
      }
    }
    socket.on('data', onData)
  }

  /** Answers, or misbehaves. True: the answer went out as it should. */
  #act(raw: Socket, socket: Socket, phase: Phase, text: string): boolean {
    const misdeed = this.#phase === phase ? this.#misdeed : undefined
    switch (misdeed?.do) {
      case undefined:
        socket.write(text)
        return true
      case 'nothing':
        return false
      case 'close':
        socket.end()
        return false
      case 'reset':
        raw.resetAndDestroy()
        return false
      case 'say':
        socket.write(misdeed.text)
        return false
      case 'inject':
        socket.write(text + misdeed.text)
        return phase !== 'starttls'
      case 'then-close':
        socket.end(text)
        return false
    }
  }

  #encrypt(socket: Socket, number: number): void {
    if (this.#phase === 'handshake') {
      this.#act(socket, socket, 'handshake', '')
      return
    }
    if (this.#certificate === undefined) return
    const { cert, key } = this.#certificate
    const secured = new TLSSocket(socket, { isServer: true, secureContext: createSecureContext({ cert, key }) })
    secured.on('error', () => socket.destroy())
    secured.on('close', () => socket.destroy())
    this.#converse(socket, secured, number, true)
    secured.once('secure', () => {
      if (this.#speech.afterTls !== '') secured.write(this.#speech.afterTls)
    })
  }
}
