/**
 * The supervisor actor: the workers' processes. It owns who is starting, ready, draining or gone; starts them, asks each
 * whether its event loop turns, replaces those that die or stand still, and ends them all at shutdown. What a worker is
 * good for (connections, invalidations) is told to the rooms that use it through `Observer`, in one order: a worker joins
 * when it is ready, and is gone only when its process and its channel are.
 */
import cluster from 'node:cluster'
import type { Worker as ClusterWorker } from 'node:cluster'
import type { Socket } from 'node:net'
import { Link } from '../actor/link.ts'
import type { Behaviour } from '../actor/actor.ts'
import type { ActorRef, Message, Question, Reply } from '../actor/message.ts'
import type { Clock, Timer } from '../clock.ts'
import type { ConnectionEnvelope, Settings, StartEnvelope, ToPrimary, ToWorker } from '../cluster/channel.ts'
import { expectSocketLists } from '../cluster/socket-lists.ts'
import { asSignalboxError, impossible, SignalboxError } from '../errors.ts'
import { WORKER_PING_MS, WORKER_STALL_MS, WORKER_START_MS } from '../limits.ts'
import type { WorkerMessage } from '../worker/messages.ts'
import { Deaths } from './deaths.ts'
import { Vigil } from './vigil.ts'
import { nextStep } from './rotation.ts'

/** From a worker's channel: it must be told of every change from now on. */
export interface WorkerJoined extends Message {
  readonly type: 'joined'
  readonly worker: number
}
/** From a worker's channel: it can serve connections. */
export interface WorkerReady extends Message {
  readonly type: 'ready'
  readonly worker: number
}
/** A worker can't begin, whatever is tried. */
export interface WorkerFailed extends Message {
  readonly type: 'failed'
  readonly worker: number
  readonly reason: string
}
/** Process and channel of a worker are gone. */
export interface WorkerExited extends Message {
  readonly type: 'exited'
  readonly worker: number
  readonly code: number | null
  readonly signal: string | null
}
/** From a timer. */
export interface PingAll extends Message {
  readonly type: 'ping-all'
}
/** From a timer: start one in place of one that died. */
export interface Respawn extends Message {
  readonly type: 'respawn'
}
/** Ends every worker: sessions may finish for `grace` milliseconds. Answered when all are gone. */
export interface Stop extends Question<true> {
  readonly type: 'stop'
  readonly grace: number
}
/** Replaces every worker that there is, one by one; sessions of the old ones may finish for `grace` milliseconds. */
export interface Roll extends Message {
  readonly type: 'roll'
  readonly grace: number
}
/** Another number of workers; sessions of those that are too many may finish for `grace` milliseconds. */
export interface Resize extends Message {
  readonly type: 'resize'
  readonly threads: number
  readonly grace: number
}
export type SupervisorMessage = Roll | Resize | WorkerJoined | WorkerReady | WorkerFailed | WorkerExited | PingAll | Respawn | Stop

/** A worker as the rest of the primary reaches it. */
export interface WorkerHandle {
  readonly worker: number
  readonly pid: number
  readonly link: Link
  readonly control: ActorRef<WorkerMessage>
  readonly sendConnection: (envelope: ConnectionEnvelope, socket: Socket, failed: () => void) => void
  /** Sends others to work by. */
  readonly sendSettings: (settings: Settings) => void
}

export interface Observer {
  /** Before anything is heard of the worker: export what it may reach. */
  starting(handle: WorkerHandle): void
  /** It must be told of every change from now on. */
  joined(handle: WorkerHandle): void
  ready(handle: WorkerHandle): void
  /** It will be told to take no more connections; called first. */
  draining(handle: WorkerHandle): void
  /** Every worker has been replaced; `failed`: one could not begin, and the rest stays. */
  rolled(outcome: { readonly workers: number; readonly ms: number; readonly failed?: string }): void
  /** Its process and channel are gone. */
  gone(handle: WorkerHandle, exit: { readonly code: number | null; readonly signal: string | null; readonly expected: boolean }): void
  stalled(handle: WorkerHandle, ms: number): void
  invalid(worker: number, error: SignalboxError): void
  /** Every worker died at the start: the instance can't do its work. */
  giveUp(reason: string): void
}

export interface SupervisorOptions {
  readonly threads: number
  readonly clock: Clock
  /** Path of workers/session.ts (or .js when built). */
  readonly entry: string
  readonly start: (worker: number) => StartEnvelope
  readonly self: (message: SupervisorMessage) => void
  readonly observer: Observer
}

interface Station {
  readonly handle: WorkerHandle
  readonly process: ClusterWorker
  readonly since: number
  state: 'starting' | 'ready' | 'draining'
  /** It is to be replaced. */
  outdated: boolean
}

interface Rolling {
  readonly began: number
  readonly workers: number
}

/** Until a process has a handler for SIGUSR1, Node takes it for a wish for a debugger; with this it never does. */
const NO_DEBUGGER = '--disable-sigusr1'
/** A worker that lived this long didn't die young. */
const GROWN_UP_MS = 10_000
/** From a process's end to the end of its channel. */
const CHANNEL_END_MS = 100
/** What a worker may take over its grace before it is killed. */
const KILL_AFTER_MS = 2_000

export class Supervisor implements Behaviour<SupervisorMessage> {
  readonly #options: SupervisorOptions
  readonly #stations = new Map<number, Station>()
  readonly #vigil: Vigil
  #everReady = false
  readonly #deaths = new Deaths()
  #wanted: number
  /** How long sessions of a worker that is taken out may go on. */
  #grace = 0
  /** Starts that are put off. */
  #putOff = 0
  #rolling: Rolling | undefined
  #pinging: Timer | undefined
  #ended = false
  #stopping: { readonly question: Stop; readonly reply: Reply; readonly deadline: Timer } | undefined

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#vigil = new Vigil(options.clock)
    this.#wanted = options.threads
  }

  /** Starts the workers. Called once. */
  begin(): void {
    // In this order: setupPrimary freezes the policy. With node:cluster's round robin a connection that was given to a
    // dying worker would never be answered.
    cluster.schedulingPolicy = cluster.SCHED_NONE
    const execArgv = [...process.execArgv.filter((argument) => argument !== NO_DEBUGGER), NO_DEBUGGER]
    cluster.setupPrimary({ exec: this.#options.entry, serialization: 'advanced', args: [], execArgv })
    this.#advance()
    this.#pinging = this.#options.clock.every(WORKER_PING_MS, () => this.#options.self({ type: 'ping-all' }))
  }

  receive(message: SupervisorMessage, reply: Reply): void {
    switch (message.type) {
      case 'joined':
        return this.#joined(message.worker)
      case 'ready':
        return this.#ready(message.worker)
      case 'failed':
        return this.#failed(message)
      case 'exited':
        return this.#exited(message)
      case 'ping-all':
        return this.#ping()
      case 'respawn':
        this.#putOff--
        return this.#advance()
      case 'roll':
        return this.#roll(message.grace)
      case 'resize':
        this.#wanted = message.threads
        this.#grace = message.grace
        return this.#advance()
      case 'stop':
        return this.#stop(message, reply)
      default:
        impossible(message)
    }
  }

  crashed(error: SignalboxError): void {
    throw error
  }

  /** Workers that take part. */
  get ready(): number {
    return [...this.#stations.values()].filter(({ state }) => state === 'ready').length
  }

  /** At least one worker that takes connections has shown that its event loop turns; at the end, which has its own deadline, none is asked. */
  get alive(): boolean {
    if (this.#stopping !== undefined) return true
    return [...this.#stations].some(([worker, { state }]) => state === 'ready' && this.#vigil.awake(worker))
  }

  /** Kills every worker at once. */
  kill(): void {
    for (const station of this.#stations.values()) station.process.process.kill('SIGKILL')
  }

  /** For an instance that never came up, or whose workers are gone: no respawn, no survivor. */
  end(): void {
    this.#ended = true
    this.#pinging?.cancel()
    this.kill()
  }

  #spawn(): void {
    const { clock, observer, self } = this.#options
    const child = cluster.fork()
    const worker = child.id
    const link = new Link({
      clock,
      send: (frames) => post(child, { t: 'frames', frames }),
      onInvalid: (error) => observer.invalid(worker, error),
    })
    const handle: WorkerHandle = {
      worker,
      pid: child.process.pid ?? 0,
      link,
      control: link.remote<WorkerMessage>('worker'),
      sendConnection: (envelope, socket, failed) => sendConnection(child, envelope, socket, failed),
      sendSettings: (settings) => void post(child, { t: 'settings', settings }),
    }
    const station: Station = { handle, process: child, since: clock.now(), state: 'starting', outdated: false }
    this.#stations.set(worker, station)
    this.#vigil.began(worker)
    observer.starting(handle)
    child.on('message', (envelope: ToPrimary) => {
      switch (envelope.t) {
        case 'frames':
          return link.receive(envelope.frames)
        case 'joined':
          return self({ type: 'joined', worker })
        case 'ready':
          return self({ type: 'ready', worker })
        case 'failed':
          return self({ type: 'failed', worker, reason: envelope.message })
        default:
          impossible(envelope)
      }
    })
    // The channel may hold messages after the process has ended, and the process may outlive its channel: gone is both.
    let exit: { code: number | null; signal: string | null } | undefined
    let disconnected = false
    const gone = () => {
      if (exit === undefined || !disconnected) return
      link.close()
      self({ type: 'exited', worker, ...exit })
    }
    child.on('disconnect', () => {
      if (disconnected) return
      disconnected = true
      link.close()
      gone()
    })
    child.on('exit', (code, signal) => {
      exit = { code, signal }
      gone()
      // A worker that was killed while it stood still, with sockets on their way to it, leaves a channel that never says
      // that it has ended. What the worker wrote before its death has been read by then.
      clock.after(
        CHANNEL_END_MS,
        () => {
          if (disconnected) return
          if (child.isConnected()) child.process.disconnect()
          disconnected = true
          gone()
        },
        { keepAlive: true },
      )
    })
    child.on('error', (error) => observer.invalid(worker, asSignalboxError(error)))
    post(child, this.#options.start(worker))
  }

  #joined(worker: number): void {
    const station = this.#stations.get(worker)
    if (station !== undefined) this.#options.observer.joined(station.handle)
  }

  #ready(worker: number): void {
    const station = this.#stations.get(worker)
    if (station === undefined || station.state !== 'starting') return
    station.state = 'ready'
    this.#vigil.heard(worker)
    this.#everReady = true
    this.#options.observer.ready(station.handle)
    this.#advance()
  }

  /** At the start it is the instance that can't begin; later the others go on, and the start is tried again. */
  #failed({ worker, reason }: WorkerFailed): void {
    if (!this.#everReady) return this.#options.observer.giveUp(reason)
    const station = this.#stations.get(worker)
    if (station === undefined) return
    this.#endRoll(reason)
    station.process.process.kill('SIGKILL')
  }

  #roll(grace: number): void {
    if (this.#stopping !== undefined || this.#ended) return
    this.#grace = grace
    const live = [...this.#stations.values()].filter(({ state }) => state !== 'draining')
    for (const station of live) station.outdated = true
    this.#rolling = { began: this.#options.clock.now(), workers: live.length }
    this.#advance()
  }

  /** Takes every step that can be taken now. */
  #advance(): void {
    if (this.#stopping !== undefined || this.#ended) return
    for (;;) {
      const workers = [...this.#stations].map(([worker, { state, outdated }]) => ({ worker, state, outdated }))
      const step = nextStep({ wanted: this.#wanted, workers, putOff: this.#putOff })
      if (step === undefined) break
      if (step.do === 'start') this.#spawn()
      else this.#drain(step.worker)
    }
    if (![...this.#stations.values()].some(({ state, outdated }) => outdated && state !== 'draining')) this.#endRoll()
  }

  #endRoll(failed?: string): void {
    const rolling = this.#rolling
    if (rolling === undefined) return
    this.#rolling = undefined
    for (const station of this.#stations.values()) station.outdated = false
    const ms = this.#options.clock.now() - rolling.began
    this.#options.observer.rolled({ workers: rolling.workers, ms, ...(failed === undefined ? {} : { failed }) })
  }

  #drain(worker: number): void {
    const station = this.#stations.get(worker)
    if (station === undefined) return
    station.state = 'draining'
    const { clock, observer } = this.#options
    observer.draining(station.handle)
    station.handle.control.tell({ type: 'drain', grace: this.#grace, patient: true })
    station.handle.link.flush()
    clock.after(this.#grace + KILL_AFTER_MS, () => {
      if (this.#stations.get(worker) === station) station.process.process.kill('SIGKILL')
    })
  }

  #exited({ worker, code, signal }: WorkerExited): void {
    const station = this.#stations.get(worker)
    if (station === undefined) return
    this.#stations.delete(worker)
    const started = this.#vigil.started(worker)
    this.#vigil.gone(worker)
    const expected = station.state === 'draining'
    const { clock, observer, self } = this.#options
    observer.gone(station.handle, { code, signal, expected })
    if (this.#stopping !== undefined) return this.#settle()
    if (expected || this.#ended) return
    const young = !started || clock.now() - station.since < GROWN_UP_MS
    const pause = this.#deaths.one({ young, everReady: this.#everReady })
    if (pause === undefined) return observer.giveUp(`${this.#deaths.count} workers died before one was ready`)
    this.#putOff++
    clock.after(pause, () => self({ type: 'respawn' }), { keepAlive: true })
  }

  #ping(): void {
    const { observer } = this.#options
    for (const { worker, silent, started } of this.#vigil.round()) {
      const station = this.#stations.get(worker)
      if (station === undefined) continue
      observer.stalled(station.handle, silent)
      if (!started) {
        const reason = `a worker gave no sign of life within ${WORKER_START_MS / 1_000} seconds of its start`
        if (!this.#everReady) return observer.giveUp(reason)
        this.#endRoll(reason)
      }
      station.process.process.kill('SIGKILL')
    }
    for (const [worker, { handle }] of this.#stations) {
      handle.control.ask({ type: 'ping' }, WORKER_STALL_MS).then(
        () => this.#vigil.heard(worker),
        // Silence is what the next round looks at.
        () => {},
      )
    }
  }

  #stop(question: Stop, reply: Reply): void {
    if (this.#stopping !== undefined) return reply.fail(new SignalboxError('DRAINING', 'the workers are being stopped already'))
    // Keeps the process alive as long as there is somebody to kill.
    const deadline = this.#options.clock.after(question.grace + KILL_AFTER_MS, () => this.kill(), { keepAlive: true })
    this.#stopping = { question, reply, deadline }
    this.#pinging?.cancel()
    for (const station of this.#stations.values()) {
      station.state = 'draining'
      station.handle.control.tell({ type: 'drain', grace: question.grace, patient: false })
      station.handle.link.flush()
    }
    this.#settle()
  }

  #settle(): void {
    if (this.#stopping === undefined || this.#stations.size > 0) return
    this.#stopping.deadline.cancel()
    this.#stopping.reply.to(this.#stopping.question, true)
  }
}

/** False: the channel is gone. */
function post(child: ClusterWorker, envelope: ToWorker): boolean {
  if (!child.isConnected()) return false
  if ('settings' in envelope) expectSocketLists(child.process, envelope.settings.listeners)
  child.send(envelope, undefined, undefined, () => {
    // A channel that broke is told by its 'disconnect'.
  })
  return true
}

function sendConnection(child: ClusterWorker, envelope: ConnectionEnvelope, socket: Socket, failed: () => void): void {
  if (!child.isConnected()) {
    // Not at once: the caller is still noting that it was sent.
    setImmediate(failed)
    return
  }
  child.send(envelope, socket, { keepOpen: true }, (error) => {
    if (error !== null) failed()
  })
}
