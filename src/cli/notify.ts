/**
 * What the service manager that started us (systemd, `Type=notify`) is told: READY, RELOADING, STOPPING, and the watchdog's
 * sign of life, sd_notify(3). NOTIFY_SOCKET is a datagram socket of the Unix domain, which Node can't open; systemd's own
 * `systemd-notify` is there wherever systemd is, so each message is one short run of it, one after the other (an order
 * that would be lost between two processes at once), instead of a native add-on in the process that holds the keys.
 * Hence `NotifyAccess=all` in the unit file. The address is taken out of the environment: no worker finds it there.
 */
import { execFile } from 'node:child_process'
import type { Clock, Timer } from '../clock.ts'
import { SignalboxError } from '../errors.ts'
import { NOTIFY_LOG_MS, NOTIFY_MS } from '../limits.ts'
import { notifyFailed } from '../observe/events.ts'
import type { EventLog } from '../observe/events.ts'
import { Seldom } from '../observe/seldom.ts'

/** Delivers one message, assignments such as `READY=1`. Rejects when the service manager did not take it. */
export type Deliver = (assignments: readonly string[]) => Promise<void>

export interface NotifierOptions {
  readonly clock: Clock
  readonly log: EventLog
  /** The instance does its work: asked from the primary's event loop, so that one turns. */
  readonly alive: () => boolean
  /** Undefined: nobody wants to know. */
  readonly deliver: Deliver | undefined
  /** How often the service manager wants a sign of life, in milliseconds; undefined: never. */
  readonly watchdog: number | undefined
}

/** What the environment says of the service manager (sd_notify(3), sd_watchdog_enabled(3)); takes it out of there. */
export function serviceManager(env: NodeJS.ProcessEnv, pid: number, clock: Clock): Pick<NotifierOptions, 'deliver' | 'watchdog'> {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: every, WATCHDOG_PID: meant, PATH } = env
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name]
  if (socket === undefined || socket === '') return { deliver: undefined, watchdog: undefined }
  const watched = every !== undefined && /^[1-9]\d{0,15}$/.test(every) && (meant === undefined || meant === String(pid))
  return { deliver: (assignments) => run(assignments, { NOTIFY_SOCKET: socket, PATH }, clock), watchdog: watched ? Number(every) / 1000 : undefined }
}

export class Notifier {
  readonly #options: NotifierOptions
  readonly #failures: Seldom
  /** Settles when all that was said has been delivered or given up. Never rejects. */
  #said: Promise<void> = Promise.resolve()
  #waiting = 0
  #watchdog: Timer | undefined
  #stopping = false

  constructor(options: NotifierOptions) {
    this.#options = options
    this.#failures = new Seldom(options.clock, NOTIFY_LOG_MS)
  }

  /** Connections are served: at the start, and again when a reload is over, whatever came of it. */
  ready(): void {
    if (this.#stopping) return
    this.#say('READY=1')
    const { clock, watchdog } = this.#options
    if (watchdog !== undefined) this.#watchdog ??= clock.every(watchdog / 2, () => this.#signOfLife())
  }

  /** The configuration is being read again; `ready` says that this is over. */
  reloading(): void {
    if (this.#stopping) return
    this.#say('RELOADING=1', `MONOTONIC_USEC=${Math.round(this.#options.clock.now() * 1000)}`)
  }

  /** The instance takes no more connections and will end. */
  stopping(): void {
    if (this.#stopping) return
    this.#stopping = true
    this.#say('STOPPING=1')
  }

  /** No more signs of life. Resolves when what was said has been delivered or given up. */
  async close(): Promise<void> {
    this.#stopping = true
    this.#watchdog?.cancel()
    await this.#said
  }

  #signOfLife(): void {
    // One that is still on its way says it all; a queue of them would say it too late.
    if (this.#waiting === 0 && this.#options.alive()) this.#say('WATCHDOG=1')
  }

  #say(...assignments: string[]): void {
    const { deliver, log } = this.#options
    if (deliver === undefined) return
    this.#waiting++
    this.#said = this.#said
      .then(() => deliver(assignments))
      .catch((error: unknown) => {
        const [message = ''] = assignments
        const times = this.#failures.times(message)
        if (times !== undefined) notifyFailed(log, { message, error, times })
      })
      .finally(() => {
        this.#waiting--
      })
  }
}

/** Runs systemd-notify, which waits until the service manager has read the message. */
function run(assignments: readonly string[], env: NodeJS.ProcessEnv, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile('systemd-notify', [...assignments], { env }, (error, _out, said) => {
      timer.cancel()
      if (error === null) resolve()
      else reject(new SignalboxError('INTERNAL', `systemd-notify: ${said.trim() === '' ? error.message : said.trim()}`, { cause: error }))
    })
    const timer = clock.after(NOTIFY_MS, () => void child.kill('SIGKILL'))
  })
}
