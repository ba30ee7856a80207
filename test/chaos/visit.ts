/**
 * One client: comes through a door of an instance, logs in, asks where it is, moves cargo both ways and leaves. What came of it is a value;
 * what no proxy may do (silence, other bytes than were sent, "wrong password", another account's server) is named in it as wrong.
 */
import { Agent, request } from 'node:http'
import { Agent as SecureAgent, request as secureRequest } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { createHash } from 'node:crypto'
import { systemClock } from '../../src/clock.ts'
import { Cargo, cargoHash } from './cargo.ts'
import type { Door } from './fleet.ts'
import { CLIENTS } from './speech.ts'
import { Ended, Refused, Talk, Unanswered } from './talk.ts'

export interface VisitOptions {
  readonly door: Door
  readonly ca: string
  readonly account: string
  /** Bytes of one cargo, and how many of them go each way. */
  readonly size: number
  readonly rounds: number
  /** Milliseconds between two rounds. */
  readonly pause: number
  /** Milliseconds for each wait. */
  readonly patience: number
  readonly seed: number
  /** The address that it comes from (mail only); default: any. */
  readonly from?: string
  /** Called once the client is in. */
  readonly arrived?: (destination: string) => void
}

export interface Visit {
  /**
   * `served`: to its end. `cut`: the connection ended after the login, before the client was done. `busy`: told to come again.
   * `ended`: the connection ended before an answer. `absent`: nobody listened.
   */
  readonly outcome: 'served' | 'cut' | 'busy' | 'ended' | 'absent'
  /** Where it was. */
  readonly destination: string | undefined
  /** What may never be. */
  readonly wrong: string | undefined
  /** Bytes whose hash was compared. */
  readonly bytes: number
  /** From the connection to the verdict, milliseconds; of those who got in. */
  readonly took: number | undefined
  /**
   * Clock times: of setting out; of the first word or the end of the first TLS handshake; of being in; of the last sign of life (of somebody
   * who was told to come again: of asking); of the end.
   */
  readonly began: number
  readonly answered: number | undefined
  readonly arrived: number | undefined
  readonly alive: number
  readonly noticed: number
}

/** Something that no fault explains. */
class Wrong extends Error {}
/** A new connection of somebody who has been served before ended without an answer. */
class Unheard extends Error {}

/** Makes the visit. Never rejects for what the proxy does. */
export async function visit(options: VisitOptions): Promise<Visit> {
  const began = systemClock.now()
  const seen: Seen = { destination: undefined, bytes: 0, took: undefined, answered: undefined, arrived: undefined, alive: began, asked: began }
  const result = (outcome: Visit['outcome'], wrong?: string): Visit => ({ outcome, wrong, ...seen, alive: outcome === 'busy' ? seen.asked : seen.alive, began, noticed: systemClock.now() })
  try {
    const outcome = options.door.protocol === 'http' ? await browse(options, seen) : await converse(options, options.door.protocol, seen)
    return result(outcome)
  } catch (error) {
    if (error instanceof Refused) return result('absent')
    if (error instanceof Unheard) return result('ended')
    if (error instanceof Ended) return result(seen.destination === undefined ? 'ended' : 'cut')
    const said = error instanceof Unanswered ? `left unanswered: ${error.message}` : error instanceof Wrong ? error.message : String(error)
    return result('cut', `${options.door.protocol} ${options.door.tls}, ${options.account}${seen.destination === undefined ? '' : ` on ${seen.destination}`}: ${said}`)
  }
}

interface Seen {
  destination: string | undefined
  bytes: number
  took: number | undefined
  answered: number | undefined
  arrived: number | undefined
  alive: number
  /** Clock time of beginning what was answered last. */
  asked: number
}

async function converse(options: VisitOptions, protocol: keyof typeof CLIENTS, seen: Seen): Promise<Visit['outcome']> {
  const { door, ca, account, size, rounds, pause, patience, from } = options
  const began = systemClock.now()
  const talk = await Talk.connect({ port: door.port, patience, ca: door.tls === 'implicit' ? ca : undefined, from })
  try {
    const verdict = await CLIENTS[protocol].logIn(talk, account, door.tls === 'starttls' ? () => talk.encrypt(ca) : undefined)
    if (verdict === 'refused') throw new Wrong('refused as if the password were wrong')
    if (verdict === 'busy') return 'busy'
    seen.arrived = systemClock.now()
    seen.took = seen.arrived - began
    talk.write('WHERE\r\n')
    const [at, destination = '', who] = (await talk.until(/^(AT|WHAT) /)).split(' ')
    if (at !== 'AT') throw new Wrong('the bridge changed what was asked')
    seen.destination = destination
    options.arrived?.(destination)
    if (who !== (protocol === 'smtp' || protocol === 'lmtp' ? '-' : account)) throw new Wrong(`is ${who} there`)
    for (let round = 0; round < rounds; round++) {
      if (round > 0) await systemClock.sleep(pause)
      const seed = options.seed + round
      talk.write(`GIVE ${size} ${seed}\r\n`)
      const cargo = new Cargo(seed)
      await talk.bytes(size, (chunk) => {
        if (!cargo.matches(chunk)) throw new Wrong('other bytes came than were sent to it')
        seen.bytes += chunk.length
      })
      talk.write(`TAKE ${size}\r\n`)
      const taken = new Cargo(seed)
      for (let left = size; left > 0; ) {
        const piece = taken.next(Math.min(left, 16_384))
        left -= piece.length
        await talk.pour(piece)
      }
      const answer = await talk.line()
      if (answer !== `GOT ${cargoHash(seed, size)}`) throw new Wrong(`other bytes came than it had sent: ${answer}`)
      seen.bytes += size
    }
    talk.write('QUIT\r\n')
    await talk.end()
    return 'served'
  } finally {
    seen.alive = talk.alive
    seen.answered = talk.answered
    talk.destroy()
  }
}

/** The same by requests on one connection that is kept. */
async function browse(options: VisitOptions, seen: Seen): Promise<Visit['outcome']> {
  const { size, rounds, pause } = options
  const agent = options.door.tls === 'plain' ? new Agent({ keepAlive: true, maxSockets: 1 }) : new SecureAgent({ keepAlive: true, maxSockets: 1, ca: options.ca, servername: 'localhost' })
  try {
    for (let round = 0; round < rounds; round++) {
      if (round > 0) await systemClock.sleep(pause)
      const seed = options.seed + round
      const began = systemClock.now()
      seen.asked = began
      const { status, name, hash, good, length } = await exchange(options, agent, seed, seen)
      if (status === 401 || status === 403) throw new Wrong(`refused as if the password were wrong: ${status}`)
      if (status !== 200) return 'busy'
      seen.arrived ??= systemClock.now()
      seen.took ??= seen.arrived - began
      if (name === undefined) throw new Wrong('an answer of nobody')
      if (seen.destination === undefined) options.arrived?.(name)
      seen.destination ??= name
      if (hash !== cargoHash(seed, size)) throw new Wrong('other bytes came than it had sent')
      if (!good) throw new Wrong('other bytes came than were sent to it')
      if (length !== size) throw new Ended('the answer was cut')
      seen.bytes += 2 * size
    }
    return 'served'
  } finally {
    agent.destroy()
  }
}

interface Exchanged {
  readonly status: number
  readonly name: string | undefined
  readonly hash: string | undefined
  readonly good: boolean
  readonly length: number
}

function exchange({ door, account, size, patience }: VisitOptions, agent: Agent | SecureAgent, seed: number, seen: Seen): Promise<Exchanged> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Basic ${Buffer.from(`${account}:secret`).toString('base64')}`, 'content-length': size }
    const common = { host: '127.0.0.1', port: door.port, method: 'POST', path: `/cargo/${size}/${seed}`, headers }
    let heard = false
    const alive = (): void => {
      heard = true
      seen.alive = systemClock.now()
      seen.answered ??= seen.alive
    }
    const failed = (error: Error): void => {
      if (error instanceof Unanswered) reject(error)
      else if ('code' in error && error.code === 'ECONNREFUSED') reject(new Refused())
      // Only a connection that has been of use can be cut.
      else reject(heard || sent.reusedSocket ? new Ended(error.message) : new Unheard(error.message))
    }
    const answered = (response: IncomingMessage): void => {
      alive()
      const cargo = new Cargo(seed)
      const hash = createHash('sha256')
      let length = 0
      let good = true
      response.on('data', (chunk: Buffer) => {
        alive()
        good &&= response.statusCode !== 200 || cargo.matches(chunk)
        hash.update(chunk)
        length += chunk.length
      })
      const text = (name: string): string | undefined => {
        const value = response.headers[name]
        return typeof value === 'string' ? value : undefined
      }
      response.once('error', failed)
      response.once('end', () => resolve({ status: response.statusCode ?? 0, name: text('x-name'), hash: text('x-hash'), good, length }))
    }
    const sent = door.tls === 'plain' ? request({ ...common, agent }, answered) : secureRequest({ ...common, agent }, answered)
    sent.once('error', failed)
    sent.setTimeout(patience, () => sent.destroy(new Unanswered(`nothing within ${patience} ms`)))
    const cargo = new Cargo(seed)
    for (let left = size; left > 0; ) {
      const piece = cargo.next(left)
      left -= piece.length
      sent.write(piece)
    }
    sent.end()
  })
}
