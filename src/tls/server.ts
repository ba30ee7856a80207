/**
 * The server side of TLS towards clients. SecureContexts are made once per certificate and hold the fleet's ticket
 * keys, so that a session that one worker began is resumed by any other. A handshake costs one TLSSocket over the
 * given socket; with a single certificate it never comes back into JavaScript before it is done.
 *
 * TLSSocket without a tls.Server reports errors as '_tlsError' for as long as it lives (a Server would turn that
 * off after the handshake), so the one listener that stays on the socket makes an ordinary 'error' and an end of it.
 */
import type { Socket } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { TLSSocket, type SecureContextOptions, type TLSSocketOptions } from 'node:tls'
import type { CancelSignal } from '../cancel.ts'
import type { CertificateConfig, TlsConfig } from '../config/config.ts'
import { impossible, SignalboxError } from '../errors.ts'
import { CertificateTable, type KeyPair } from './certificates.ts'
import type { RenewableTls } from './inbound.ts'
import { policyOptions } from './policy.ts'
import { checkTicketKeys } from './ticket-keys.ts'

/**
 * Sessions are resumed by servers of this name only; the same in every worker and instance. One for all certificates: OpenSSL
 * compares it with that of the context a handshake begins with, and decides on a ticket before SNICallback is asked for
 * another. So a session can be resumed under another server name than it began with (docs/tls.md says why that does no harm).
 */
const SESSION_CONTEXT = 'signalbox'

/**
 * TLS towards clients as configured.
 *
 * @param ticketKeys 48 bytes, the same in all workers (and, from a file, in all instances)
 * @param fallback the self-signed certificate for when none is configured
 * @throws SignalboxError CONFIG_INVALID for certificates, suites or keys that can't be used
 */
export function createInboundTls(config: TlsConfig, ticketKeys: Uint8Array, fallback?: KeyPair): RenewableTls {
  let current = { config, fallback, ticketKeys, ...contextsFor(config, ticketKeys, fallback) }
  return {
    accept: (socket, cancel, alpn) => accept(socket, alpn === undefined ? current.options : { ...current.options, ALPNProtocols: [...alpn] }, cancel),
    change(change) {
      switch (change.kind) {
        case 'certificate': {
          const { config: old, policy, table } = current
          const next = withCertificate(old, change.certificate)
          current = { ...current, config: next, ...optionsFor(new CertificateTable(next, policy, current.fallback, table), policy) }
          return
        }
        case 'ticket-keys':
          current = { ...current, ticketKeys: change.keys, ...contextsFor(current.config, change.keys, current.fallback) }
          return
        default:
          impossible(change)
      }
    },
    prepare(other, keys, pair) {
      const same = isDeepStrictEqual([other, pair], [current.config, current.fallback]) && Buffer.compare(keys, current.ticketKeys) === 0
      if (same) return () => {}
      const next = { config: other, fallback: pair, ticketKeys: keys, ...contextsFor(other, keys, pair) }
      return () => {
        current = next
      }
    },
  }
}

function withCertificate(config: TlsConfig, certificate: CertificateConfig): TlsConfig {
  return { ...config, certificates: config.certificates.map((old) => (old.name === certificate.name ? certificate : old)) }
}

function contextsFor(config: TlsConfig, ticketKeys: Uint8Array, fallback: KeyPair | undefined) {
  checkTicketKeys(ticketKeys)
  const policy = { ...policyOptions(config), ticketKeys: Buffer.from(ticketKeys), sessionIdContext: SESSION_CONTEXT }
  return optionsFor(new CertificateTable(config, policy, fallback), policy)
}

function optionsFor(table: CertificateTable, policy: SecureContextOptions) {
  const options: TLSSocketOptions = { isServer: true, secureContext: table.default }
  if (table.byName) options.SNICallback = (name, callback) => callback(null, table.find(name))
  return { table, policy, options }
}

function accept(socket: Socket, options: TLSSocketOptions, cancel: CancelSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    if (cancel.aborted) {
      socket.destroy()
      reject(cancel.reason)
      return
    }
    if (socket.destroyed) {
      reject(new SignalboxError('CLIENT_CLOSED', 'the client was gone before the handshake'))
      return
    }
    const secured = new TLSSocket(socket, options)
    const settle = (): void => {
      secured.off('secure', onSecure)
      secured.off('error', onError)
      secured.off('end', onEnd)
      secured.off('close', onEnd)
      cancel.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      secured.destroy()
      socket.destroy()
      reject(error)
    }
    const onSecure = (): void => {
      settle()
      secured.pause()
      resolve(secured)
    }
    const onError = (error: Error): void =>
      fail(new SignalboxError('CLIENT_TLS', `handshake failed: ${reasonOf(error)}`, { cause: error }))
    const onEnd = (): void => fail(new SignalboxError('CLIENT_TLS', 'the client closed during the handshake'))
    const onAbort = (): void => fail(cancel.reason)
    secured.on('_tlsError', destroyWith)
    secured.on('secure', onSecure)
    secured.on('error', onError)
    secured.on('end', onEnd)
    secured.on('close', onEnd)
    cancel.addEventListener('abort', onAbort)
  })
}

function destroyWith(this: TLSSocket, error: Error): void {
  this.destroy(error)
}

/** OpenSSL's short reason (`no shared cipher`), else the error's code. */
function reasonOf(error: Error): string {
  if ('reason' in error && typeof error.reason === 'string') return error.reason
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message
}
