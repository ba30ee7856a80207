/**
 * `node test/reliability/rolls.ts [--rolls 10] [--rate 200] [--distribution primary|kernel] [--tls] [--by signal|threads]`: the workers of an
 * instance are replaced one by one, again and again (by SIGUSR2, or by a reload with another number of them), under so many logins a second
 * (IMAP, each a connection of its own) and beside sessions that stay. Nobody may be refused, sent away or cut. Says what rate was
 * reached: clients, servers and proxy share the machine. Status 1 when somebody noticed.
 */
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { parseArgs } from 'node:util'
import { systemClock } from '../../src/clock.ts'
import { ChaosFleet } from '../chaos/fleet.ts'
import { CLIENTS } from '../chaos/speech.ts'
import { Talk } from '../chaos/talk.ts'

const ACCOUNTS = Array.from({ length: 50 }, (_, index) => `roll${index}@example.com`)
const STAYERS = 40
const PATIENCE_MS = 20_000
const TURN_MS = 20
/** Logins under way at a time: more would only measure how long a queue can get. */
const AT_ONCE = 100
/** A BYE instead of a greeting is as good as nobody listening. */
const SENT_AWAY = 'sent away'

/** How many workers there are, in turn, where another number of them is what replaces them. */
const THREADS = [3, 2]

const { values } = parseArgs({
  options: {
    rolls: { type: 'string', default: '10' },
    rate: { type: 'string', default: '200' },
    distribution: { type: 'string', default: 'primary' },
    tls: { type: 'boolean', default: false },
    by: { type: 'string', default: 'signal' },
  },
})
if (!['primary', 'kernel'].includes(values.distribution) || !['signal', 'threads'].includes(values.by)) {
  process.stderr.write('usage: node test/reliability/rolls.ts [--rolls 10] [--rate 200] [--distribution primary|kernel] [--tls] [--by signal|threads]\n')
  process.exitCode = 2
} else process.exitCode = await main(Number(values.rolls), Number(values.rate))

async function main(rolls: number, rate: number): Promise<number> {
  await using fleet = await ChaosFleet.start({ source: 'redis', accounts: ACCOUNTS, tables: { server: { roll_grace: '1h', distribution: values.distribution } } })
  const [member] = fleet.members
  const port = member?.straight.find(({ protocol, tls }) => protocol === 'imap' && tls === (values.tls ? 'implicit' : 'plain'))?.port ?? 0
  if (member === undefined) throw new Error('no instance')
  const ca = values.tls ? fleet.ca : undefined
  const outcomes: Record<string, number> = {}
  const latencies: number[] = []
  const underWay = new Set<number>()
  const begin = (count: number): void => {
    underWay.add(count)
    const at = systemClock.now()
    void logIn(port, ca, ACCOUNTS[count % ACCOUNTS.length] ?? '').then((outcome) => {
      underWay.delete(count)
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      if (outcome === 'in') latencies.push(systemClock.now() - at)
    })
  }
  const stayers = await Promise.all(Array.from({ length: STAYERS }, async (_, index) => {
    const talk = await Talk.connect({ port, ca, patience: PATIENCE_MS })
    if ((await CLIENTS.imap.logIn(talk, ACCOUNTS[index % ACCOUNTS.length] ?? '', undefined)) !== 'in') throw new Error('a session could not begin')
    return talk
  }))
  const over = new AbortController()
  let begun = 0
  let owed = 0
  const started = systemClock.now()
  const driving = (async () => {
    while (!over.signal.aborted) {
      await systemClock.sleep(TURN_MS)
      owed = Math.min(owed + (rate * TURN_MS) / 1_000, AT_ONCE)
      for (; owed >= 1 && underWay.size < AT_ONCE; owed--) begin(begun++)
    }
  })()
  let cut = 0
  for (let roll = 0; roll < rolls; roll++) {
    const from = member.box.lines.length
    if (values.by === 'signal') member.box.signal('SIGUSR2')
    else {
      // Each has a share of the connections to Redis: all are replaced.
      await member.rewrite({ server: { threads: THREADS[roll % THREADS.length] } })
      member.box.signal('SIGHUP')
    }
    await member.box.line(({ event }) => event === 'rolled', 120_000, from)
    for (const talk of stayers) {
      try {
        talk.write('WHERE\r\n')
        await talk.until(/^AT /)
      } catch {
        cut++
      }
    }
  }
  over.abort()
  await driving
  const seconds = (systemClock.now() - started) / 1_000
  while (underWay.size > 0) await systemClock.sleep(20)
  for (const talk of stayers) talk.destroy()
  latencies.sort((one, other) => one - other)
  const at = (share: number): string => (latencies[Math.floor(share * (latencies.length - 1))] ?? Number.NaN).toFixed(0)
  const refused = (outcomes['ECONNREFUSED'] ?? 0) + (outcomes[SENT_AWAY] ?? 0)
  process.stdout.write(`distribution ${values.distribution}, ${values.tls ? 'TLS' : 'plain'}, by ${values.by}: ${rolls} rolls in ${seconds.toFixed(0)} s; ${begun} logins, ${(begun / seconds).toFixed(0)} a second: ${JSON.stringify(outcomes)}; median ${at(0.5)} ms, 99 % ${at(0.99)} ms, at most ${at(1)} ms\n`)
  process.stdout.write(`refused, or sent away instead of greeted: ${refused}\n`)
  process.stdout.write(`${STAYERS} sessions stayed throughout; found cut: ${cut}\n`)
  return cut === 0 && Object.keys(outcomes).every((outcome) => outcome === 'in') ? 0 : 1
}

/** A login with as little work as possible: connection, greeting, LOGIN, and its answer. */
function logIn(port: number, ca: string | undefined, account: string): Promise<string> {
  return new Promise((resolve) => {
    const where = { port, host: '127.0.0.1' }
    const socket = ca === undefined ? connect({ ...where, noDelay: true }) : connectTls({ ...where, ca, servername: 'localhost' })
    let text = ''
    let asked = false
    const end = (outcome: string): void => {
      timer.cancel()
      socket.destroy()
      resolve(outcome)
    }
    const timer = systemClock.after(PATIENCE_MS, () => end('unanswered'), { keepAlive: true })
    socket.on('error', (error: Error & { code?: string }) => end(error.code ?? 'error'))
    socket.on('close', () => end(asked ? 'ended after the login command' : 'ended before the login command'))
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (!text.endsWith('\r\n')) return
      if (!asked) {
        if (!text.startsWith('* OK')) return end(SENT_AWAY)
        asked = true
        text = ''
        socket.write(`a LOGIN ${account} secret\r\n`)
      } else end(text.startsWith('a OK') ? 'in' : 'told to come again')
    })
  })
}
