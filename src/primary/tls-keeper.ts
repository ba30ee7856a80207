/**
 * What TLS towards clients is made of, for the whole instance: the certificates as they are now, and the keys of session
 * tickets. It owns both; workers and the management API are told of every change. Ticket keys come from ticket_key_file,
 * else they are made here and replaced every limits.TICKET_KEYS_MS; with `[tls] watch` all files are watched.
 *
 * A worker is started with the state of that moment and may have missed a change when it is ready: `since` gives it what
 * it lacks. One change is one message, so that no frame grows with the number of certificates.
 */
import { X509Certificate } from 'node:crypto'
import type { Clock, Timer } from '../clock.ts'
import type { CertificateConfig, TlsConfig } from '../config/config.ts'
import { readPair } from '../config/files.ts'
import { mistakeText } from '../config/mistake.ts'
import type { Report } from '../config/mistake.ts'
import { asSignalboxError } from '../errors.ts'
import { TICKET_KEYS_MS } from '../limits.ts'
import * as events from '../observe/events.ts'
import type { Logger } from '../observe/log.ts'
import { FileWatch } from '../tls/file-watch.ts'
import type { Watched } from '../tls/file-watch.ts'
import type { TlsChange } from '../tls/inbound.ts'
import { makeTicketKeys, readTicketKeys } from '../tls/ticket-keys.ts'

export interface TlsKeeperOptions {
  readonly config: TlsConfig
  readonly clock: Clock
  readonly log: Logger
  /** To everybody who does handshakes. */
  readonly publish: (change: TlsChange) => void
}

export class TlsKeeper {
  readonly #options: TlsKeeperOptions
  readonly #watch: FileWatch
  /** In the configuration's order. */
  #certificates: Map<string, CertificateConfig>
  #config: TlsConfig
  /** Name of a certificate, or TICKETS → version of its last change. */
  readonly #changed = new Map<string | symbol, number>()
  #ticketKeys: Uint8Array = makeTicketKeys()
  #version = 0
  #rotation: Timer | undefined

  constructor(options: TlsKeeperOptions) {
    this.#options = options
    this.#config = options.config
    this.#watch = new FileWatch(options.clock)
    this.#certificates = new Map(options.config.certificates.map((certificate) => [certificate.name, certificate]))
  }

  /** Reads the ticket keys and begins to watch. Rejects with CONFIG_INVALID for keys that can't be used. */
  async open(): Promise<void> {
    const { ticketKeyFile } = this.#config
    if (ticketKeyFile !== undefined) this.#ticketKeys = await readTicketKeys(ticketKeyFile)
    this.#begin()
  }

  /**
   * A reload: reads the ticket keys that go with another configuration; made ones stay what they are. Nobody is told when it
   * is put to use: whoever does handshakes gets the configuration and the keys together. Rejects with CONFIG_INVALID.
   */
  async prepare(config: TlsConfig): Promise<{ readonly ticketKeys: Uint8Array; use(): void }> {
    const { ticketKeyFile } = config
    const made = this.#config.ticketKeyFile === undefined ? this.#ticketKeys : makeTicketKeys()
    const ticketKeys = ticketKeyFile === undefined ? made : await readTicketKeys(ticketKeyFile)
    return {
      ticketKeys,
      use: () => {
        this.close()
        this.#config = config
        this.#certificates = new Map(config.certificates.map((certificate) => [certificate.name, certificate]))
        this.#ticketKeys = ticketKeys
        this.#version++
        this.#begin()
      },
    }
  }

  #begin(): void {
    const { ticketKeyFile, watch, certificates } = this.#config
    const { clock } = this.#options
    if (ticketKeyFile === undefined) this.#rotation = clock.every(TICKET_KEYS_MS, () => this.#rekey(makeTicketKeys(), 'made'))
    if (!watch) return
    const watched = certificates.map((certificate) => this.#watchedPair(certificate))
    if (ticketKeyFile !== undefined) watched.push(this.#watchedKeys(ticketKeyFile))
    this.#watch.start(watched)
  }

  close(): void {
    this.#rotation?.cancel()
    this.#watch.close()
  }

  /** The configuration with the certificates that are in use now. */
  get config(): TlsConfig {
    return { ...this.#config, certificates: [...this.#certificates.values()] }
  }

  get ticketKeys(): Uint8Array {
    return this.#ticketKeys
  }

  /** Counts the changes. */
  get version(): number {
    return this.#version
  }

  /** What has changed since that version. */
  since(version: number): readonly TlsChange[] {
    const changes: TlsChange[] = []
    for (const certificate of this.#certificates.values()) {
      if ((this.#changed.get(certificate.name) ?? 0) > version) changes.push({ kind: 'certificate', certificate })
    }
    if ((this.#changed.get(TICKETS) ?? 0) > version) changes.push({ kind: 'ticket-keys', keys: this.#ticketKeys })
    return changes
  }

  #watchedPair({ name, certPath, keyPath }: CertificateConfig): Watched {
    return {
      paths: [certPath, keyPath],
      load: () => this.#load(name),
      broken: (reason) => events.certificateBroken(this.#options.log, { certificate: name, reason }),
    }
  }

  #watchedKeys(path: string): Watched {
    return {
      paths: [path],
      load: async () => {
        try {
          const keys = await readTicketKeys(path)
          // Else a reload came in between.
          if (this.#config.ticketKeyFile === path) this.#rekey(keys, 'file')
          return undefined
        } catch (thrown) {
          return asSignalboxError(thrown).message
        }
      },
      broken: (reason) => events.ticketKeysBroken(this.#options.log, { reason }),
    }
  }

  async #load(name: string): Promise<string | undefined> {
    const { clock, log } = this.#options
    const old = this.#certificates.get(name)
    if (old === undefined) return undefined
    const report: Report = { mistakes: [], warnings: [] }
    const path = `tls.certificate.${name}`
    const files = await readPair({ cert: old.certPath, key: old.keyPath }, { cert: `${path}.cert`, key: `${path}.key` }, clock.wall(), report)
    if (files === undefined) return report.mistakes.map(mistakeText).join('; ')
    const { cert, key } = files
    // A reload came in between.
    if (this.#certificates.get(name) !== old) return undefined
    // Touched, or written again as it was.
    if (cert === old.cert && key === old.key) return undefined
    for (const warning of report.warnings) events.configWarning(log, { warning })
    const certificate = { ...old, cert, key, subjects: old.subjectsSet ? old.subjects : files.subjects }
    this.#certificates.set(name, certificate)
    this.#changed.set(name, ++this.#version)
    this.#options.publish({ kind: 'certificate', certificate })
    events.certificateRenewed(log, { certificate: name, valid_until: new X509Certificate(cert).validToDate.toISOString() })
    return undefined
  }

  #rekey(keys: Uint8Array, origin: 'file' | 'made'): void {
    if (Buffer.compare(keys, this.#ticketKeys) === 0) return
    this.#ticketKeys = keys
    this.#changed.set(TICKETS, ++this.#version)
    this.#options.publish({ kind: 'ticket-keys', keys })
    events.ticketKeysRenewed(this.#options.log, { origin })
  }
}

const TICKETS = Symbol('ticket keys')
