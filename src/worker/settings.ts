/**
 * What this worker works by, and how a reload replaces it: first everything that could fail is made ready beside what is in
 * force (certificates, CAs, the listeners' dialogues), then, when every process of the instance is ready, all of it takes
 * over in one turn of the event loop. Sessions keep the listener and the capabilities that they began with; what concerns
 * routes and destinations is asked for when it is needed, so that no login goes by what was.
 *
 * Messages of the primary come in the order of sending: what it told before the change is done by the old settings, and
 * connections that were accepted by the new ones find them in force.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Settings } from '../cluster/channel.ts'
import type { Config, ListenerConfig } from '../config/config.ts'
import type { Catalogue } from '../destination/catalogue.ts'
import type { BackendDialer } from '../destination/dialer.ts'
import type { OwnListeners } from '../destination/own-listeners.ts'
import { SignalboxError } from '../errors.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import type { Logger } from '../observe/log.ts'
import { createRedactor } from '../observe/redaction.ts'
import type { Redactor } from '../observe/redaction.ts'
import type { ListenerProfile } from '../protocol/protocol.ts'
import { tooBusy } from '../protocol/registry.ts'
import type { Resolver } from '../resolver/resolver.ts'
import type { PreauthMemory } from '../session/preauth-memory.ts'
import type { RenewableTls } from '../tls/inbound.ts'

/** What is made of settings once and changed by others. */
export interface SettingsParts {
  readonly catalogue: Catalogue
  readonly resolver: Resolver
  readonly dialer: BackendDialer
  readonly tls: RenewableTls
  readonly preauth: PreauthMemory
  readonly ownListeners: OwnListeners
  readonly logger: Logger
  /** Every cached route is to be looked up again. */
  readonly doubt: (reason: string) => void
  /** Compares so many cached routes a second with the source from now on. */
  readonly audit: (rate: number) => void
}

/** How connections of a listener are served, and what is made of it for that: once for each state of the listener. */
export interface Serving<Profile> {
  /** Undefined: it serves nobody. */
  readonly profile: (listener: ListenerConfig, config: Config) => Profile | undefined
  /** Another one has taken its place: what it serves may go on, connections on their way may still come. */
  readonly retired?: (profile: Profile) => void
}

interface Listener<Profile> {
  readonly profile: Profile | undefined
  readonly tooBusy: Buffer
}

/** Ready to take over. */
interface Candidate<Profile> {
  readonly settings: Settings
  readonly listeners: ReadonlyMap<number, Listener<Profile>>
  readonly useTls: () => void
}

export class WorkerSettings<Profile extends object> {
  #settings: Settings
  #serving: Serving<Profile> | undefined
  #listeners: ReadonlyMap<number, Listener<Profile>> = new Map()
  #redactor: Redactor
  /** Came from the primary, and was not looked at yet. */
  #offered: Settings | undefined
  #candidate: Candidate<Profile> | undefined

  constructor(settings: Settings) {
    this.#settings = settings
    this.#redactor = createRedactor(settings.config.log)
  }

  /** How the listeners are served. Called once, when all is there that this needs. */
  serve(serving: Serving<Profile>): void {
    this.#serving = serving
    this.#listeners = this.#listenersOf(this.#settings)
  }

  get config(): Config {
    return this.#settings.config
  }

  get listeners(): readonly NumberedListener[] {
    return this.#settings.listeners
  }

  /** What a log may say of an account, as configured now. */
  readonly redact: Redactor = (account) => this.#redactor(account)

  /** The profile of a listener; undefined: there is none of that number, or it serves no sessions. */
  profile(number: number): Profile | undefined {
    return this.#listeners.get(number)?.profile
  }

  /** Of all listeners, those included that connections on their way may name. */
  get profiles(): readonly Profile[] {
    return [...this.#listeners.values()].flatMap(({ profile }) => (profile === undefined ? [] : [profile]))
  }

  tooBusy(number: number): Buffer {
    return this.#listeners.get(number)?.tooBusy ?? Buffer.alloc(0)
  }

  /** The listeners of the settings that came last and were not looked at yet. */
  get offered(): readonly ListenerConfig[] {
    return this.#offered?.listeners.map(({ listener }) => listener) ?? []
  }

  /** Others came. The latest count. */
  offer(settings: Settings): void {
    this.#offered = settings
  }

  /**
   * Makes ready to use the settings of that generation. Nothing has changed yet, whatever comes of it.
   *
   * @throws SignalboxError CONFIG_INVALID for certificates, keys or CAs that can't be used
   */
  prepare(generation: number, { dialer, tls }: SettingsParts): void {
    this.#candidate = undefined
    const settings = this.#offered
    if (settings?.generation !== generation) throw new SignalboxError('INTERNAL', `settings ${generation} have not come`)
    const { config, ticketKeys, fallback } = settings
    dialer.check(config.destinations)
    const useTls = tls.prepare(config.tls, ticketKeys, fallback)
    const listeners = this.#listenersOf(settings)
    // Who listens by itself goes on as it began until another takes its place.
    if (config.server.distribution === 'kernel') for (const [number, old] of this.#listeners) if (!listeners.has(number)) listeners.set(number, old)
    this.#candidate = { settings, listeners, useTls }
  }

  /** Uses what was prepared. Half of it in force would be worse than none: who throws here must end. */
  commit(generation: number, parts: SettingsParts): void {
    const candidate = this.#candidate
    if (candidate?.settings.generation !== generation) throw new SignalboxError('INTERNAL', `settings ${generation} were not prepared`)
    const before = this.#settings.config
    const { config } = candidate.settings
    this.#settings = candidate.settings
    const kept = new Set([...candidate.listeners.values()].map(({ profile }) => profile))
    const outdated = this.profiles.filter((profile) => !kept.has(profile))
    const current = new Set(candidate.settings.listeners.map(({ number }) => number))
    for (const [number, { profile }] of candidate.listeners) if (!current.has(number) && profile !== undefined) outdated.push(profile)
    this.#listeners = candidate.listeners
    this.#candidate = undefined
    this.#offered = undefined
    if (config.log.accounts !== before.log.accounts || config.log.redactionKey !== before.log.redactionKey) {
      this.#redactor = createRedactor(config.log)
    }
    parts.logger.level = config.server.logLevel
    candidate.useTls()
    parts.catalogue.replace(config.destinations)
    parts.dialer.reconfigure(config.server, config.destinations)
    parts.ownListeners.replace(config.listeners)
    parts.preauth.limit(config.limits.maxPreauthMemory)
    parts.resolver.reconfigure(config.mapping)
    if (config.mapping.auditRate !== before.mapping.auditRate) parts.audit(config.mapping.auditRate)
    for (const profile of outdated) this.#serving?.retired?.(profile)
    const reason = whyDoubt(before, config)
    if (reason !== undefined) parts.doubt(reason)
  }

  #listenersOf({ config, listeners, retired }: Settings): Map<number, Listener<Profile>> {
    const same = sameGround(this.#settings.config, config)
    return new Map(
      [...retired, ...listeners].map(({ number, listener }) => {
        // A number stands for one state of a listener for ever.
        const known = same ? this.#listeners.get(number) : undefined
        return [number, known ?? this.#listenerOf(listener, config)]
      }),
    )
  }

  #listenerOf(listener: ListenerConfig, config: Config): Listener<Profile> {
    return { profile: this.#serving?.profile(listener, config), tooBusy: tooBusy(listenerProfile(listener, config)) }
  }
}

/** What a protocol's dialogue on a listener is made of. */
export function listenerProfile(listener: ListenerConfig, { capabilities, server, limits }: Config): ListenerProfile {
  return { listener, capabilities, hostname: server.hostname, preauthBuffer: limits.preauthBuffer }
}

/** Why cached routes may not be what a lookup would give now; undefined: they are. */
function whyDoubt(before: Config, config: Config): string | undefined {
  const names = ({ destinations }: Config) => destinations.map(({ name }) => name).sort().join('\n')
  if (names(before) !== names(config)) return 'destinations were added or removed'
  return before.mapping.normalize === config.mapping.normalize ? undefined : 'accounts are normalised otherwise'
}

/** Whether what a listener's profile is made of, besides the listener itself, is the same. */
function sameGround(before: Config, config: Config): boolean {
  const ground = ({ capabilities, server, limits, routing, http, oauth }: Config) => [
    capabilities,
    server.hostname,
    limits.preauthBuffer,
    routing.smtpPassthroughDestination,
    http,
    oauth,
  ]
  return isDeepStrictEqual(ground(before), ground(config))
}
