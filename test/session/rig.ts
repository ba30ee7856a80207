/**
 * One session with everything around it in a test's hands: real sockets on both sides, a protocol of a few words, a
 * dialer whose backends do as they are told, a real resolver over a scripted source, a clock that stands still.
 *
 * The client says `LOGIN name password`, `STARTTLS`, `QUIT`; it is told OK (the backend's words), NO, LATER, ASK, BYE.
 */
import { spawn } from '../../src/actor/actor.ts'
import type { CancelSignal } from '../../src/cancel.ts'
import type { ListenerConfig, ServerConfig } from '../../src/config/config.ts'
import type { Backend, DialRequest, ReplayOutcome } from '../../src/destination/backend.ts'
import { SignalboxError } from '../../src/errors.ts'
import { imapClaims } from '../../src/protocol/imap/claims.ts'
import { Counters } from '../../src/observe/counters.ts'
import type { Login, Preauth, PreauthPort, LoginProtocol, Refusal } from '../../src/protocol/protocol.ts'
import { PreauthMemory } from '../../src/session/preauth-memory.ts'
import { Session } from '../../src/session/session.ts'
import type { LoginFacts, SessionClosed, SessionProfile, SessionServices } from '../../src/session/session.ts'
import { Sessions } from '../../src/session/sessions.ts'
import type { SessionsMessage } from '../../src/session/sessions.ts'
import type { InboundTls } from '../../src/tls/inbound.ts'
import { scripted } from '../resolver/scripted.ts'
import type { Scripted, ScriptedOptions } from '../resolver/scripted.ts'
import { serverConfigOf } from '../support/fake-backend.ts'
import { testDestination, testListener } from '../support/config.ts'
import { eventually } from '../support/settled.ts'
import { socketPair } from '../support/socket-pair.ts'
import type { Peer, SocketPair } from '../support/socket-pair.ts'

/** Attempts before the dialogue ends itself. */
const ATTEMPTS = 3

/** The dialogue in its few words. Keeps what it is fed while it isn't the client's turn. */
export class FewWords implements Preauth {
  readonly #port: PreauthPort
  #text = ''
  #at: 'commands' | 'login' | 'relay' | 'denied' | 'tls' | 'over' = 'commands'
  #failures = 0

  constructor(port: PreauthPort) {
    this.#port = port
  }

  get held(): number {
    return this.#text.length
  }

  start(): void {
    this.#say('HELLO')
  }

  receive(chunk: Buffer): void {
    if (this.#at === 'over') return
    this.#text += chunk.toString('latin1')
    this.#read()
  }

  secured(): void {
    this.#text = ''
    this.#at = 'commands'
  }

  resume(): void {
    this.#at = 'commands'
    this.#read()
  }

  accepted(): Buffer {
    if (this.#at !== 'login') throw new SignalboxError('CLIENT_CLOSED', 'over before its login')
    this.#at = 'over'
    return Buffer.from(this.#text, 'latin1')
  }

  refused(_refusal: Refusal): void {
    if (this.#at === 'over') return
    const final = ++this.#failures >= ATTEMPTS
    this.#at = final ? 'over' : 'denied'
    this.#port.deny(Buffer.from('NO\n'), final)
  }

  unavailable(reason?: 'limit'): void {
    if (this.#at === 'over') return
    this.#say(reason === 'limit' ? 'FULL' : 'LATER')
    this.#at = 'commands'
    this.#read()
  }

  challenge(challenge: Buffer): void {
    this.#say(`ASK ${challenge.toString()}`)
    this.#at = 'relay'
    this.#read()
  }

  expire(reason: 'timeout' | 'shutdown'): void {
    if (this.#at === 'over') return
    const last = this.#at === 'tls' ? Buffer.alloc(0) : Buffer.from(`BYE ${reason}\n`)
    this.#at = 'over'
    this.#port.close(last, new SignalboxError(reason === 'timeout' ? 'CLIENT_TIMEOUT' : 'DRAINING', reason))
  }

  #say(line: string): void {
    this.#port.write(Buffer.from(`${line}\n`))
  }

  #read(): void {
    for (;;) {
      const end = this.#text.indexOf('\n')
      if (end < 0 || (this.#at !== 'commands' && this.#at !== 'relay')) return
      const line = this.#text.slice(0, end)
      this.#text = this.#text.slice(end + 1)
      const [word, name = '', password = ''] = line.split(' ')
      if (this.#at === 'relay') {
        this.#at = 'login'
        this.#port.respond(line === '*' ? undefined : Buffer.from(line))
      } else if (word === 'LOGIN') {
        this.#at = 'login'
        const credentials = { kind: 'password' as const, authzid: '', authcid: name, password: Buffer.from(password) }
        this.#port.login({ mechanism: 'PLAIN', credentials, facts: {} })
      } else if (word === 'STARTTLS') {
        this.#say('GO')
        this.#at = 'tls'
        this.#port.startTls()
      } else if (word === 'QUIT') {
        this.#at = 'over'
        this.#port.close(Buffer.from('BYE\n'), undefined)
      } else this.#say('WHAT')
    }
  }
}

/** A dial that the session began. */
export class FakeBackend implements Backend {
  readonly capabilities = []
  readonly request: DialRequest
  readonly pair: SocketPair
  logins: string[] = []
  answers: (string | undefined)[] = []
  destroyed = false
  released = false
  #settle: { resolve: (outcome: ReplayOutcome) => void; reject: (error: Error) => void } | undefined

  constructor(request: DialRequest, pair: SocketPair) {
    this.request = request
    this.pair = pair
  }

  /** The mail server's end. */
  get server(): Peer {
    return this.pair.far
  }

  get replaying(): boolean {
    return this.#settle !== undefined
  }

  replay(login: Login): Promise<ReplayOutcome> {
    this.logins.push(login.credentials.kind === 'password' ? login.credentials.authcid : '')
    return this.#wait()
  }

  respond(answer: Buffer | undefined): Promise<ReplayOutcome> {
    this.answers.push(answer?.toString())
    return this.#wait()
  }

  release() {
    if (this.pair.near.destroyed) throw new SignalboxError('BACKEND_CLOSED', 'broke before it was handed over')
    this.released = true
    return { socket: this.pair.near, early: Buffer.alloc(0) }
  }

  destroy(error?: SignalboxError): void {
    if (this.released) return
    this.destroyed = true
    this.pair.near.destroy()
    this.#settle?.reject(error ?? new SignalboxError('BACKEND_CLOSED', 'given up'))
    this.#settle = undefined
  }

  accept(words = 'OK welcome\n'): void {
    this.#resolve({ kind: 'accepted', bytes: Buffer.from(words) })
  }

  refuse(): void {
    this.#resolve({ kind: 'refused', refusal: { text: undefined } })
  }

  challenge(text: string): void {
    this.#resolve({ kind: 'challenge', challenge: Buffer.from(text) })
  }

  fail(error: SignalboxError): void {
    this.#settle?.reject(error)
    this.#settle = undefined
  }

  #resolve(outcome: ReplayOutcome): void {
    this.#settle?.resolve(outcome)
    this.#settle = undefined
  }

  #wait(): Promise<ReplayOutcome> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
  }
}

export interface OpenDial {
  readonly request: DialRequest
  readonly cancel: CancelSignal
  succeed(): Promise<FakeBackend>
  fail(error: SignalboxError): void
}

export interface SessionRig {
  readonly client: Peer
  readonly near: SocketPair['near']
  readonly session: Session
  readonly box: Scripted
  readonly sessions: Sessions
  readonly dials: OpenDial[]
  /** What was reported: `accepted a one`, `refused …`, `unavailable … CODE`, `closed reason CODE`. */
  readonly told: string[]
  readonly facts: LoginFacts[]
  closed: SessionClosed | undefined
  readonly over: Promise<void>
  /** Sends the login, answers the source with destination "one", and dials. */
  toDial(name?: string): Promise<OpenDial>
  /** The same up to a backend that has been shown the login. */
  toReplay(name?: string): Promise<FakeBackend>
  toBridge(name?: string): Promise<FakeBackend>
  kick(name: string): Promise<number>
  end(which: 'preauth' | 'all'): Promise<number>
  /** Waits until the session has reported its end, and makes sure that it stays at one report with nothing left open. */
  ends(): Promise<SessionClosed>
}

export interface RigOptions {
  readonly listener?: Partial<ListenerConfig>
  readonly server?: Partial<ServerConfig>
  readonly tls?: InboundTls
  readonly resolver?: ScriptedOptions
  readonly preauth?: (port: PreauthPort) => Preauth
  readonly services?: Partial<SessionServices>
  /** Instead of the protocol of a few words: what is bridged whole. */
  readonly profile?: (listener: ListenerConfig) => SessionProfile
}

const NO_TLS: InboundTls = {
  accept: () => Promise.reject(new SignalboxError('CLIENT_TLS', 'no TLS in this test')),
}

export async function sessionRig(options: RigOptions = {}): Promise<SessionRig> {
  const pair = await socketPair()
  const box = scripted(options.resolver)
  const sessions = new Sessions()
  const actor = spawn<SessionsMessage>(sessions, { name: 'sessions', clock: box.clock })
  const told: string[] = []
  const facts: LoginFacts[] = []
  const dials: OpenDial[] = []
  const backends: FakeBackend[] = []
  const note = (what: string, login: LoginFacts, why?: SignalboxError | string): void => {
    facts.push(login)
    told.push([what, login.account ?? '-', login.destination ?? '-', ...(why === undefined ? [] : [typeof why === 'string' ? why : why.code])].join(' '))
  }
  const protocol: LoginProtocol = {
    kind: 'login',
    name: 'imap',
    claims: imapClaims,
    prepare: () => ({ open: (port) => new FewWords(port), tooBusy: Buffer.alloc(0) }),
    backend: () => {
      throw new SignalboxError('INTERNAL', 'the dialer of this test has no dialogue')
    },
  }
  const destinations = ['legacy', 'one', 'two', 'three'].map((name) => testDestination({ name }))
  const services: SessionServices = {
    clock: box.clock,
    server: serverConfigOf(options.server),
    tls: options.tls ?? NO_TLS,
    dialer: {
      dial: (request, cancel) =>
        new Promise((resolve, reject) => {
          cancel.addEventListener('abort', () => reject(cancel.reason))
          dials.push({
            request,
            cancel,
            fail: reject,
            succeed: async () => {
              const backend = new FakeBackend(request, await socketPair())
              backends.push(backend)
              resolve(backend)
              return backend
            },
          })
        }),
    },
    resolver: box.resolver,
    resolverRef: box.actor.ref,
    sessions,
    sessionsRef: actor.ref,
    identify: ({ credentials }) => {
      const name = credentials.kind === 'password' ? credentials.authcid : ''
      if (name === 'bad"name') throw new SignalboxError('CLIENT_BAD_IDENTIFIER', 'no name')
      return name === 'nobody' ? undefined : name
    },
    destination: (id) => destinations[id],
    destinationNamed: (name) => destinations.find((destination) => destination.name === name),
    admit: () => true,
    places: { take: () => true, giveBack: () => {} },
    preauth: new PreauthMemory(Number.POSITIVE_INFINITY),
    countAddress: () => Promise.resolve(true),
    penalty: () => Promise.resolve(1_000),
    report: {
      accepted: (_session, login) => note('accepted', login),
      passedThrough: (_session, login) => note('passed through', login),
      refused: (_session, login, reason) => note('refused', login, reason),
      unavailable: (_session, login, error) => note('unavailable', login, error),
      closed: (_session, end) => {
        told.push(`closed ${end.reason}${end.error === undefined ? '' : ` ${end.error.code}`}`)
        rig.closed = end
      },
    },
    counters: new Counters(),
    ...options.services,
  }
  const listener = testListener(options.listener)
  const connection = { socket: pair.near, id: 's1', number: 1, clientAddress: '192.0.2.7', clientPort: 5, localAddress: '127.0.0.1', localPort: 6 }
  const factory = { open: options.preauth ?? ((port: PreauthPort) => new FewWords(port)), tooBusy: Buffer.from('BUSY\n') }
  const session = new Session(connection, options.profile?.(listener) ?? { listener, protocol, factory }, services)
  const rig: SessionRig = {
    client: pair.far,
    near: pair.near,
    session,
    box,
    sessions,
    dials,
    told,
    facts,
    closed: undefined,
    over: session.run(),
    async toDial(name = 'a') {
      const before = dials.length
      pair.far.send(`LOGIN ${name} secret\n`)
      if (name !== 'nobody' && box.resolver.cached(name) === undefined) {
        await eventually(() => box.source.open.length > 0, 'the source is asked')
        await box.source.answer(name, 'one')
      }
      await eventually(() => dials.length > before, 'a dial begins')
      const dial = dials.at(-1)
      if (dial === undefined) throw new Error('no dial')
      return dial
    },
    async toReplay(name) {
      const backend = await (await rig.toDial(name)).succeed()
      await eventually(() => backend.replaying, 'the login is replayed')
      return backend
    },
    async toBridge(name) {
      const backend = await rig.toReplay(name)
      backend.accept()
      await eventually(() => pair.far.received.endsWith('OK welcome\n'), 'the client is let in')
      return backend
    },
    kick: (identifier) => actor.ref.ask({ type: 'kick', identifier }, 1_000),
    end: (which) => actor.ref.ask({ type: 'end', which }, 1_000),
    async ends() {
      await eventually(() => rig.closed !== undefined, 'the session ends')
      await rig.over
      await eventually(() => pair.near.destroyed, 'the client side is closed')
      await eventually(() => backends.every((backend) => backend.pair.near.destroyed), 'every backend is closed')
      const stats = await actor.ref.ask({ type: 'stats' }, 1_000)
      if (stats.sessions !== 0 || stats.accounts !== 0) throw new Error(`left behind: ${JSON.stringify(stats)}`)
      const reports = told.filter((line) => line.startsWith('closed'))
      if (reports.length !== 1 || rig.closed === undefined) throw new Error(`closed was reported ${reports.length} times`)
      return rig.closed
    },
  }
  return rig
}
