/**
 * The one error class of Signalbox. Every failure that crosses a module's border is a SignalboxError: `code` says
 * what happened (a closed list), `side` who caused it, `retryable` whether the same step may be tried again before
 * a credential was seen. Answers on the wire are derived from it by the protocols, never the reverse.
 */

/** Who caused the failure. */
export type ErrorSide = 'client' | 'backend' | 'source' | 'bus' | 'internal'

/** code → [side, retryable]. The closed list: a new code is added here and gets a test. */
export const ERROR_CODES = {
  // client side
  CLIENT_CLOSED: ['client', false],
  CLIENT_PROTOCOL: ['client', false],
  CLIENT_TLS: ['client', false],
  CLIENT_TIMEOUT: ['client', false],
  CLIENT_BAD_IDENTIFIER: ['client', false],
  CLIENT_TOO_MANY_ATTEMPTS: ['client', false],
  CLIENT_BUFFER: ['client', false],
  /** limits.max_preauth_memory is used up, and this was the oldest connection without a login. */
  CLIENT_CROWDED_OUT: ['client', false],
  /** An inbound PROXY header is missing or malformed, or its sender is nobody who may send one. */
  CLIENT_PROXY_HEADER: ['client', false],
  /** The address that a PROXY header announced has too many connections already. */
  CLIENT_TOO_MANY_CONNECTIONS: ['client', false],
  // backend side: while connecting (these count against a destination by themselves)
  BACKEND_DNS: ['backend', true],
  BACKEND_CONNECT: ['backend', true],
  BACKEND_TIMEOUT: ['backend', true],
  // backend side: after connecting (put down to the client they happened to)
  BACKEND_TLS: ['backend', true],
  BACKEND_CERTIFICATE: ['backend', false],
  BACKEND_GREETING: ['backend', true],
  BACKEND_CLOSED: ['backend', true],
  BACKEND_PROTOCOL: ['backend', false],
  BACKEND_INJECTION: ['backend', false],
  BACKEND_REPLAY_TIMEOUT: ['backend', false],
  BACKEND_NO_MECHANISM: ['backend', false],
  BACKEND_PLAINTEXT: ['backend', false],
  BACKEND_NO_LEG: ['backend', false],
  BACKEND_DOWN: ['backend', false],
  /** The login would come back to us: the destination is one of our own listeners, or the time-to-live is used up. */
  BACKEND_LOOP: ['backend', false],
  /** destination.max_connections is reached; says nothing against the destination. */
  BACKEND_FULL: ['backend', false],
  /** The backend's own temporary refusal of a login. */
  BACKEND_UNAVAILABLE: ['backend', false],
  // mapping source
  SOURCE_UNAVAILABLE: ['source', true],
  SOURCE_TIMEOUT: ['source', true],
  SOURCE_READ_ONLY: ['source', false],
  SOURCE_CONFLICT: ['source', false],
  SOURCE_INVALID: ['source', false],
  SOURCE_WRITE: ['source', false],
  SOURCE_NOT_REPLICATED: ['source', false],
  // bus and actors
  BUS_DOWN: ['bus', true],
  BUS_REFUSED: ['bus', false],
  /** Another live instance has our name. */
  BUS_NAME_TAKEN: ['bus', false],
  /** A live peer doesn't know the destination that a mapping shall name. */
  BUS_PEER_LACKS: ['bus', false],
  ACTOR_MAILBOX_FULL: ['internal', true],
  ACTOR_DEADLINE: ['internal', true],
  ACTOR_GONE: ['internal', true],
  FRAME_INVALID: ['internal', false],
  // routing
  ROUTE_UNAVAILABLE: ['source', true],
  ROUTE_VOID: ['internal', true],
  // limits
  ACCOUNT_FULL: ['internal', false],
  // life cycle
  KICKED: ['internal', false],
  DRAINING: ['internal', false],
  CONFIG_INVALID: ['internal', false],
  LISTEN_FAILED: ['internal', false],
  INTERNAL: ['internal', false],
} as const satisfies Record<string, readonly [ErrorSide, boolean]>

export type ErrorCode = keyof typeof ERROR_CODES

export class SignalboxError extends Error {
  override readonly name = 'SignalboxError'
  readonly code: ErrorCode
  readonly side: ErrorSide
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; retryable?: boolean }) {
    super(message, options !== undefined && 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    const [side, retryable] = ERROR_CODES[code]
    this.side = side
    this.retryable = options?.retryable ?? retryable
  }
}

/** Turns anything that was thrown into a SignalboxError, keeping it when it is one already. */
export function asSignalboxError(thrown: unknown, fallback: ErrorCode = 'INTERNAL'): SignalboxError {
  if (thrown instanceof SignalboxError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new SignalboxError(fallback, message, { cause: thrown })
}

/** For the branch of an exhaustive switch that cannot be reached. */
export function impossible(value: never): never {
  throw new SignalboxError('INTERNAL', `impossible value: ${JSON.stringify(value)}`)
}
