/**
 * A process of mail servers for the chaos run, killed and stopped by it: each of its names has an address of 127/8 of its own, and on
 * each of them every protocol is spoken, on a plain port and on one with TLS. Once a client is in (speech.ts) it may ask:
 *
 *   WHERE             → AT name account
 *   GIVE count seed   → that many bytes (cargo.ts)
 *   TAKE count        + that many bytes → GOT sha256
 *   QUIT              → the end
 *
 * HTTP: POST /cargo/count/seed gives the bytes in the answer's body, and in its head the name, and the hash of the request's.
 * A line "spoil" on standard input changes one byte of the next cargo. It ends with its standard input.
 */
import { createHash } from 'node:crypto'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { createSecureContext, TLSSocket } from 'node:tls'
import { Cargo } from './cargo.ts'
import { MAIL_PROTOCOLS, SERVERS } from './speech.ts'
import type { MailProtocol } from './speech.ts'
import { Ended, Talk } from './talk.ts'

/** Plain and TLS ports, the same on every address. */
export type HousePorts = Readonly<Record<MailProtocol | 'http', readonly [plain: number, tls: number]>>

export interface HouseOptions {
  /** Name → address. */
  readonly names: Readonly<Record<string, string>>
  readonly ports: HousePorts
  readonly cert: string
  readonly key: string
}

let spoils = 0

/** The cargo, or what a broken network would make of it. */
function piece(cargo: Cargo, count: number): Buffer {
  const bytes = cargo.next(count)
  if (spoils === 0) return bytes
  spoils--
  const spoilt = Buffer.from(bytes)
  spoilt[0] = (spoilt[0] ?? 0) ^ 1
  return spoilt
}

async function converse(socket: Socket, protocol: MailProtocol, name: string): Promise<void> {
  const talk = new Talk(socket)
  try {
    const account = await SERVERS[protocol].serve(talk)
    for (;;) {
      const line = await talk.line()
      const [word, first = '0', second = '0'] = line.split(' ')
      if (word === 'WHERE') talk.write(`AT ${name} ${account === '' ? '-' : account}\r\n`)
      else if (word === 'GIVE') {
        const cargo = new Cargo(Number(second))
        for (let left = Number(first); left > 0; ) {
          const bytes = piece(cargo, Math.min(left, 32_768))
          left -= bytes.length
          await talk.pour(bytes)
        }
      } else if (word === 'TAKE') {
        const hash = createHash('sha256')
        await talk.bytes(Number(first), (chunk) => void hash.update(chunk))
        talk.write(`GOT ${hash.digest('hex')}\r\n`)
      } else if (word === 'QUIT') return
      else talk.write(`WHAT ${line}\r\n`)
    }
  } catch (error) {
    if (!(error instanceof Ended)) throw error
  } finally {
    socket.end()
    talk.socket.destroySoon()
  }
}

function answer(name: string, request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash('sha256')
  const [, , count = '0', seed = '0'] = (request.url ?? '').split('/')
  request.on('error', () => {})
  response.on('error', () => {})
  request.on('data', (chunk: Buffer) => void hash.update(chunk))
  request.on('end', () => {
    response.writeHead(200, { 'X-Name': name, 'X-Hash': hash.digest('hex'), 'Content-Length': count })
    const cargo = new Cargo(Number(seed))
    let left = Number(count)
    const go = (): void => {
      while (left > 0) {
        const bytes = piece(cargo, Math.min(left, 32_768))
        left -= bytes.length
        if (!response.write(bytes) && left > 0) return void response.once('drain', go)
      }
      response.end()
    }
    go()
  })
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
}

/** Opens all servers. */
async function open({ names, ports, cert, key }: HouseOptions): Promise<void> {
  const secureContext = createSecureContext({ cert, key })
  for (const [name, host] of Object.entries(names)) {
    for (const protocol of MAIL_PROTOCOLS) {
      const [plainPort, tlsPort] = ports[protocol]
      const serve = (socket: Socket): void => {
        socket.on('error', () => socket.destroy())
        void converse(socket, protocol, name)
      }
      await listen(createServer({ noDelay: true }, serve), plainPort, host)
      const encrypted = createServer({ noDelay: true }, (socket) => {
        socket.on('error', () => socket.destroy())
        serve(new TLSSocket(socket, { isServer: true, secureContext }))
      })
      await listen(encrypted, tlsPort, host)
    }
    const [plainPort, tlsPort] = ports.http
    const handler = (request: IncomingMessage, response: ServerResponse): void => answer(name, request, response)
    await listen(createHttpServer({ keepAliveTimeout: 60_000 }, handler), plainPort, host)
    await listen(createHttpsServer({ cert, key, keepAliveTimeout: 60_000 }, handler), tlsPort, host)
  }
}

if (import.meta.main) {
  const lines = createInterface({ input: process.stdin })
  let begun = false
  lines.on('line', (line) => {
    if (begun) spoils += line === 'spoil' ? 1 : 0
    else {
      begun = true
      open(JSON.parse(line) as HouseOptions).then(
        () => process.stdout.write('open\n'),
        (error: unknown) => {
          process.stderr.write(`${String(error)}\n`)
          process.exit(1)
        },
      )
    }
  })
  lines.on('close', () => process.exit())
}
