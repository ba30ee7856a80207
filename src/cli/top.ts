/**
 * `signalbox top`: what an instance and its fleet are at, drawn anew every so often. Rates are the differences between two
 * looks. What an instance can't be asked leaves its part out and says why; nothing here changes anything.
 */
import type { Client } from './client.ts'
import { showList } from './show.ts'
import { talk } from './talk.ts'
import type { Status, TalkOptions } from './talk.ts'
import { interruptible, plain, write } from './terminal.ts'
import type { Terminal } from './terminal.ts'

export interface TopOptions extends TalkOptions {
  /** Seconds between two looks. */
  readonly interval: number
  /** One look, then the end; what happens by itself where nobody watches. */
  readonly once?: boolean
}

type Json = Readonly<Record<string, unknown>>

/** One look; a text instead of an answer is why there is none. */
export interface Look {
  readonly at: number
  readonly stats: Json | string
  readonly destinations: Json | string
  readonly fleet: Json | string
  readonly sessions: Json | string
}

const CLEAR = '\u001b[H\u001b[J'
const ALTERNATE = '\u001b[?1049h\u001b[?25l'
const NORMAL = '\u001b[?25h\u001b[?1049l'

export function top(terminal: Terminal, options: TopOptions): Promise<Status> {
  const { clock, stdout } = terminal
  return talk(terminal, options, (client) =>
    interruptible(async (signal) => {
      const first = await look(client, clock.now())
      if (options.json === true) {
        await write(stdout, `${JSON.stringify(first)}\n`)
        return statusOf(first)
      }
      if (options.once === true || stdout.isTTY !== true) {
        await write(stdout, frame(first, undefined))
        return statusOf(first)
      }
      await write(stdout, ALTERNATE)
      try {
        let before: Look | undefined
        for (let now = first; ; ) {
          const rows = stdout.rows ?? 24
          const lines = frame(now, before).split('\n')
          await write(stdout, CLEAR + (lines.length > rows ? [...lines.slice(0, rows - 1), '…'] : lines).join('\n'))
          await pause(terminal, options.interval, signal)
          if (signal.aborted) return 0
          before = now
          now = await look(client, clock.now())
        }
      } finally {
        await write(stdout, NORMAL)
      }
    }),
  )
}

/** The figures, or why there are none, decide how a single look ends. */
function statusOf({ stats }: Look): Status {
  return typeof stats === 'string' ? 1 : 0
}

async function look(client: Client, at: number): Promise<Look> {
  const ask = async (path: string): Promise<Json | string> => {
    const { status, text, json } = await client.ask({ method: 'GET', path })
    return status === 200 && json !== undefined ? json : text
  }
  const [stats, destinations, fleet, sessions] = await Promise.all([ask('/stats'), ask('/destinations'), ask('/fleet'), ask('/sessions/summary')])
  return { at, stats, destinations, fleet, sessions }
}

function pause({ clock }: Terminal, seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = clock.after(seconds * 1000, end, { keepAlive: true })
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
}

/** What is drawn of a look; `before` is the one before it. */
export function frame(now: Look, before: Look | undefined): string {
  return `${header(now, before)}\n${part(now.destinations, 'destinations')}\n${sessionsPart(now.sessions)}${part(now.fleet, 'instances', FLEET)}`
}

const FLEET = ['instance', 'state', 'version', 'workers', 'digest_agrees', 'last_heard_s', 'lag', 'gaps']

function header({ stats, at }: Look, before: Look | undefined): string {
  if (typeof stats === 'string') return `no figures: ${plain(stats)}\n`
  const text = (name: string): string => {
    const value = stats[name]
    return typeof value === 'string' || typeof value === 'number' ? plain(String(value)) : '-'
  }
  const rate = (name: string): string => {
    const past = typeof before?.stats === 'object' ? before.stats[name] : undefined
    const value = stats[name]
    if (before === undefined || typeof past !== 'number' || typeof value !== 'number' || at <= before.at) return ''
    return ` (${((Math.max(0, value - past) * 1000) / (at - before.at)).toFixed(1)}/s)`
  }
  const counted = (name: string, words: string): string => `${words} ${text(name)}${rate(name)}`
  return [
    `signalbox ${text('version')}  ${text('instance')}  up ${duration(stats['uptime_s'])}  workers ${text('workers')}  bus ${text('bus')}  watch ${text('watch')}`,
    `connections ${text('active_connections')}   cache: ${text('cache_entries')} routes, ${text('hit_rate_pct')}% hits`,
    [counted('cache_hits', 'hits'), counted('cache_misses', 'misses'), counted('stale_served', 'stale'), counted('lookup_failures', 'failures'), counted('invalidations', 'invalidated')].join('   '),
    '',
  ].join('\n')
}

function part(json: Json | string, name: string, columns?: readonly string[]): string {
  return typeof json === 'string' ? `${name}: ${plain(json)}\n` : showList(json[name], columns)
}

/** Lists only: the figures beside them stand in the header. */
function sessionsPart(json: Json | string): string {
  if (typeof json === 'string') return ''
  const lists = Object.entries(json).filter(([, value]) => Array.isArray(value) && value.length > 0 && typeof value[0] === 'object')
  return lists.map(([name, value]) => `${name.replaceAll('_', ' ')}\n${showList(value)}\n`).join('')
}

function duration(seconds: unknown): string {
  if (typeof seconds !== 'number') return '-'
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3_600) % 24, Math.floor(seconds / 60) % 60]
  if (days > 0) return `${days}d ${hours}h`
  return hours > 0 ? `${hours}h ${minutes}m` : `${minutes}m ${Math.floor(seconds) % 60}s`
}
