/** The parts of an instance that a reload makes ready one by one (reloading.ts), each over the room that owns its state. */
import type { Config } from '../config/config.ts'
import { impossible } from '../errors.ts'
import type { NumberedListener } from '../listener/numbered.ts'
import type { Changed, MappingSource, RulesReady } from '../mapping/source.ts'
import type { KeyPair } from '../tls/certificates.ts'
import type { Acceptor } from './acceptor.ts'
import { Doors } from './doors.ts'
import type { Part, Outcome } from './reloading.ts'
import type { SettingsKeeper } from './settings-keeper.ts'
import type { TlsKeeper } from './tls-keeper.ts'

/** What was made ready for the workers; filled by one part and used by a later one. */
export interface Underway {
  ticketKeys?: Uint8Array
  fallback?: KeyPair | undefined
  /** What the other rules made of the mappings that are cached. */
  invalidate?: Changed
  listeners?: readonly NumberedListener[]
  /** Who has confirmed. */
  outcome?: Promise<Outcome>
}

/** Certificates and the keys of session tickets. */
export function tlsPart(keeper: TlsKeeper, fallback: (config: Config) => Promise<KeyPair | undefined>, underway: Underway): Part {
  return {
    async prepare({ config }) {
      const next = await keeper.prepare(config.tls)
      underway.ticketKeys = next.ticketKeys
      underway.fallback = await fallback(config)
      return { commit: () => next.use(), abort: () => {} }
    },
  }
}

/** The mappings where we hold a copy: read by the names of the destinations to come. Nobody writes meanwhile. */
export function sourcePart(source: MappingSource, warn: (warning: string) => void, underway: Underway): Part {
  return {
    async prepare({ config }) {
      if (source.underRules === undefined) return { commit: () => {}, abort: () => {} }
      const ready = Promise.withResolvers<RulesReady>()
      const decided = Promise.withResolvers<void>()
      const rules = { normalize: config.mapping.normalize, destinations: config.destinations.map(({ name }) => name) }
      const over = source.underRules(rules, (one) => {
        ready.resolve(one)
        return decided.promise
      })
      over.catch(ready.reject)
      const { use, warnings } = await ready.promise
      return {
        commit() {
          underway.invalidate = use()
          for (const warning of warnings) warn(`${config.mapping.file?.path ?? ''}: ${warning}`)
          decided.resolve()
        },
        abort: decided.resolve,
      }
    },
  }
}

/** The workers. What is told to them in this turn of the event loop before they are told to change is done by the old settings. */
export function workersPart(keeper: SettingsKeeper, tls: TlsKeeper, underway: Underway): Part {
  return {
    async prepare({ config }) {
      const { ticketKeys = tls.ticketKeys, fallback } = underway
      const listeners = keeper.numbers.number(config.listeners)
      underway.listeners = listeners
      const next = await keeper.prepare({ config, listeners, ticketKeys, fallback })
      return {
        commit() {
          underway.outcome = next.use()
        },
        abort: () => {},
      }
    },
  }
}

/** The listening sockets. After the workers: no connection may come to one that doesn't know its listener. */
export function listenersPart(acceptor: Acceptor, current: () => Config, underway: Underway): Part {
  return {
    async prepare({ config }) {
      const { listeners = [] } = underway
      const { distribution } = config.server
      switch (distribution) {
        case 'primary':
          return acceptor.prepare(listeners)
        case 'kernel':
          await tryOut(listeners, current())
          return { commit: () => {}, abort: () => {} }
        default:
          return impossible(distribution)
      }
    },
  }
}

/** Whether new workers will be able to listen there. Rejects with LISTEN_FAILED. */
async function tryOut(listeners: readonly NumberedListener[], { listeners: now }: Config): Promise<void> {
  const open = new Set(now.flatMap(({ bind }) => bind.map(({ text }) => text)))
  const added = listeners.map(({ number, listener }) => ({ number, listener: { ...listener, bind: listener.bind.filter(({ text }) => !open.has(text)) } }))
  const trial = await new Doors({ accept: (socket) => void socket.destroy(), failed: () => {} }).prepare(added)
  trial.abort()
}
