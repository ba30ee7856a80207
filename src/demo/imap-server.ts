/**
 * A small but real IMAP server in memory, so that the demo needs no other software: it owns the sockets, their TLS and
 * the accounts; the dialogue is imap-session.ts. It listens twice, with implicit TLS and with STARTTLS, on loopback,
 * and refuses logins without TLS. Nothing outlives the process. Not meant for anything but the demo and its tests.
 */
import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { SecureContext } from 'node:tls'
import { Account } from './account.ts'
import { ImapSession } from './imap-session.ts'

export interface DemoImapOptions {
  /** "OLD server": shown in the greeting and in the message. */
  readonly name: string
  /** Users and their passwords. */
  readonly users: ReadonlyMap<string, string>
  /** PEM. */
  readonly cert: string
  readonly key: string
}

export interface DemoImapPorts {
  readonly implicit: number
  readonly starttls: number
}

export class DemoImapServer {
  readonly #name: string
  readonly #accounts = new Map<string, Account>()
  readonly #context: SecureContext
  readonly #servers: Server[] = []
  readonly #sockets = new Set<Socket>()

  constructor(options: DemoImapOptions) {
    this.#name = options.name
    this.#context = createSecureContext({ cert: options.cert, key: options.key })
    for (const [user, password] of options.users) {
      const account = new Account(user, password)
      account.mailbox('INBOX')?.append(welcome(options.name, user), [], new Date())
      this.#accounts.set(user, account)
    }
  }

  /** Listens on two free loopback ports. */
  async listen(): Promise<DemoImapPorts> {
    return { implicit: await this.#open(true), starttls: await this.#open(false) }
  }

  /** Ends all connections and stops listening. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }

  #open(implicit: boolean): Promise<number> {
    const server = createServer({ noDelay: true }, (socket) => this.#accept(socket, implicit))
    this.#servers.push(server)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', () => {
        const address: AddressInfo | string | null = server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : 0)
      })
    })
  }

  #accept(plain: Socket, implicit: boolean): void {
    this.#sockets.add(plain)
    let socket = plain
    const session = new ImapSession(
      {
        write: (bytes) => void (socket.writable && socket.write(bytes)),
        startTls: () => upgrade(() => session.secured()),
        end: () => void socket.end(),
      },
      { name: this.#name, account: (user) => this.#accounts.get(user) },
      implicit,
    )
    const receive = (chunk: Buffer): void => session.receive(chunk)
    const upgrade = (whenUp: () => void): void => {
      plain.off('data', receive)
      socket = new TLSSocket(plain, { isServer: true, secureContext: this.#context })
      socket.on('data', receive)
      socket.once('secure', whenUp)
      // A handshake that fails or a peer that goes away ends this connection; there is nobody to tell.
      socket.on('error', () => plain.destroy())
    }
    plain.on('error', () => plain.destroy())
    plain.once('close', () => {
      this.#sockets.delete(plain)
      session.close()
    })
    if (implicit) upgrade(() => session.start())
    else {
      plain.on('data', receive)
      session.start()
    }
  }
}

/** The message that shows where one has been sent. */
function welcome(name: string, user: string): Buffer {
  const lines = [
    'From: Signalbox demo <postmaster@example.com>',
    `To: <${user}>`,
    `Subject: You are on the ${name}`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    `Message-ID: <welcome.${name.toLowerCase().replaceAll(' ', '.')}.${user}>`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    '',
    `You are on the ${name}.`,
    '',
    `This message lies in the INBOX of ${user} on the ${name}.`,
    '',
  ]
  return Buffer.from(lines.join('\r\n'), 'utf8')
}
