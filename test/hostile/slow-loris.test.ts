/**
 * Hundreds of clients that come and then hardly say anything, in each phase in which one can be waited for: in the PROXY header, before the
 * greeting is answered, in the TLS handshake, in a command, in a literal, in an HTTP head and in an HTTP body; and one that reads nothing of what it has
 * asked for. Everybody else logs in meanwhile, and moves bytes, as if they weren't there. Those who dawdle are sent away in the end.
 *
 * SIGNALBOX_LORIS: how many of them. The latencies are told, and decide nothing.
 */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import { ChaosFleet } from '../chaos/fleet.ts'
import type { Door, Member } from '../chaos/fleet.ts'
import { CLIENTS } from '../chaos/speech.ts'
import { Talk } from '../chaos/talk.ts'
import { visit } from '../chaos/visit.ts'
import { skipWithout } from '../support/programs.ts'
import { soon } from '../support/soon.ts'

const LORIS = Number(process.env['SIGNALBOX_LORIS'] ?? 240)
const HONEST = 40
const DRIP_MS = 500
const PATIENCE_MS = 30_000
const ACCOUNT = 'honest@example.com'

/** What one of a kind says at once, and then byte by byte. */
interface Kind {
  readonly phase: string
  readonly protocol: Door['protocol']
  readonly tls: Door['tls']
  readonly first: string | Buffer
  readonly drip: string
  /** At the port that wants a PROXY header, instead of the protocol's own. */
  readonly behindBalancer?: true
}

const KINDS: readonly Kind[] = [
  { phase: 'PROXY header', protocol: 'imap', tls: 'plain', first: 'PROXY TCP4 192.0.2.1 192.0.2.2 ', drip: '1', behindBalancer: true },
  { phase: 'silence', protocol: 'pop3', tls: 'plain', first: '', drip: '' },
  { phase: 'TLS handshake', protocol: 'imap', tls: 'implicit', first: Buffer.from('1603010200010001fc0303', 'hex'), drip: '\0' },
  { phase: 'command', protocol: 'managesieve', tls: 'plain', first: 'AUTHENTICATE "PLAIN" "', drip: 'A' },
  { phase: 'literal', protocol: 'imap', tls: 'starttls', first: 'a LOGIN {400}\r\nx', drip: 'x' },
  { phase: 'HTTP head', protocol: 'http', tls: 'plain', first: 'GET /x HTTP/1.1\r\nHost: proxy\r\nX-A: ', drip: 'b' },
  { phase: 'HTTP body', protocol: 'http', tls: 'plain', first: 'POST /cargo/1/1 HTTP/1.1\r\nHost: proxy\r\nAuthorization: Basic aG9uZXN0QGV4YW1wbGUuY29tOnM=\r\nContent-Length: 100000\r\n\r\n', drip: 'c' },
]

describe('clients that dawdle', { skip: skipWithout('redis-server') }, () => {
  let fleet: ChaosFleet
  let member: Member

  before(async () => {
    fleet = await ChaosFleet.start({ source: 'redis', accounts: [ACCOUNT], listener: { preauth_timeout: LORIS > 500 ? '25s' : '6s' }, tables: { http: { relay_idle: '5s', route: [{ match: '/**', extract: { from: 'authorization' } }] } } })
    const [first] = fleet.members
    assert.ok(first)
    member = first
  })
  after(async () => {
    await (fleet as ChaosFleet | undefined)?.stop()
  })

  function doorOf(protocol: Door['protocol'], tls: Door['tls']): Door {
    return member.doors.find((door) => door.protocol === protocol && door.tls === tls) ?? assert.fail(`no ${protocol} ${tls}`)
  }

  /** Honest clients one after the other, through all kinds of doors; their latencies in milliseconds, sorted. */
  async function honest(): Promise<number[]> {
    const took: number[] = []
    for (let count = 0; count < HONEST; count++) {
      const door = member.doors[count % member.doors.length] ?? assert.fail('no door')
      const result = await visit({ door, ca: fleet.ca, account: ACCOUNT, size: 5_000, rounds: 1, pause: 0, patience: PATIENCE_MS, seed: count })
      assert.deepEqual([result.outcome, result.wrong], ['served', undefined], `${door.protocol} ${door.tls}`)
      took.push(result.took ?? 0)
    }
    return took.sort((one, other) => one - other)
  }

  function tell(t: TestContext, when: string, took: readonly number[]): void {
    const at = (share: number): string => (took[Math.floor(share * (took.length - 1))] ?? Number.NaN).toFixed(1)
    t.diagnostic(`${when}: median ${at(0.5)} ms, 90 % ${at(0.9)} ms, at most ${at(1)} ms`)
  }

  it(`${LORIS} of them in seven phases take nothing from the others, and are sent away when their time is over`, async (t) => {
    tell(t, 'alone', await honest())
    const sockets: Socket[] = []
    let closed = 0
    for (let count = 0; count < LORIS; count++) {
      const { protocol, tls, first, drip, behindBalancer } = KINDS[count % KINDS.length] ?? assert.fail('no kind')
      const socket = connect(behindBalancer === true ? member.behindBalancer : doorOf(protocol, tls).port, '127.0.0.1')
      sockets.push(socket)
      socket.on('error', () => {})
      socket.resume()
      const dripping = systemClock.every(DRIP_MS, () => void (drip !== '' && socket.writable && socket.write(drip)))
      socket.once('connect', () => first.length > 0 && socket.write(first))
      socket.once('close', () => {
        closed++
        dripping.cancel()
      })
      if (count % 50 === 49) await systemClock.sleep(1)
    }
    await soon('they are all in', async () => {
      const { body } = await member.box.admin.request('GET', '/metrics')
      const open = Number(/^signalbox_connections (\d+)$/m.exec(body)?.[1] ?? 0)
      // Where the machine is slow the first may be through with their time.
      return open >= LORIS * 0.9 || closed > 0
    })
    tell(t, `among ${LORIS} that dawdle`, await honest())
    // Bodies have no end as long as a byte comes now and then: those are let go by their clients.
    const endless = KINDS.filter(({ phase }) => phase === 'HTTP body').length / KINDS.length
    await soon('those that have a time are sent away', () => closed >= Math.floor(LORIS * (1 - endless)) - KINDS.length)
    for (const socket of sockets) socket.destroy()
    tell(t, 'afterwards', await honest())
  })

  it('one that asks for much and reads nothing holds nobody up', async (t) => {
    const door = doorOf('pop3', 'plain')
    const greedy = await Talk.connect({ port: door.port, patience: PATIENCE_MS })
    try {
      assert.equal(await CLIENTS.pop3.logIn(greedy, ACCOUNT, undefined), 'in')
      greedy.write('GIVE 200000000 1\r\n')
      tell(t, 'beside one that reads nothing', await honest())
    } finally {
      greedy.destroy()
    }
  })
})
