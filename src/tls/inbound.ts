/** TLS towards clients: certificates by SNI, session tickets, protocol policy. One object per worker. */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { CancelSignal } from '../cancel.ts'
import type { CertificateConfig, TlsConfig } from '../config/config.ts'
import type { KeyPair } from './certificates.ts'

export interface InboundTls {
  /**
   * Runs the server side of a handshake on a paused socket. What the socket has read ahead (behind a PROXY header) belongs to
   * the handshake. Resolves with the encrypted socket (paused, allowHalfOpen), rejects with CLIENT_TLS or, when `cancel` aborts, with its
   * reason; the socket is destroyed then. Applies no deadline of its own. `alpn`: the protocols to choose from (RFC 7301),
   * the most wanted first; a client that offers others alone is refused.
   */
  accept(socket: Socket, cancel: CancelSignal, alpn?: readonly string[]): Promise<TLSSocket>
}

/** The same, for whoever owns it. Handshakes that have begun and sessions that live keep what they began with. */
export interface RenewableTls extends InboundTls {
  /** @throws SignalboxError CONFIG_INVALID for what can't be used; nothing has changed then */
  change(change: TlsChange): void
  /**
   * Makes all that another configuration needs; what it gives puts that to use.
   *
   * @throws SignalboxError CONFIG_INVALID for certificates, suites or keys that can't be used; nothing has changed then
   */
  prepare(config: TlsConfig, ticketKeys: Uint8Array, fallback: KeyPair | undefined): () => void
}

/** One thing that handshakes use from now on. */
export type TlsChange =
  /** Takes the place of the certificate of its name. */
  | { readonly kind: 'certificate'; readonly certificate: CertificateConfig }
  /** 48 bytes that tickets are sealed with; those sealed before cost a full handshake. */
  | { readonly kind: 'ticket-keys'; readonly keys: Uint8Array }
