/** What the stub backend's process is told when it starts, and what it says when it listens. */

export interface BackendOptions {
  /** PEM files. */
  readonly cert: string
  readonly key: string
  /** Bytes of an HTTP answer's body. */
  readonly bodySize: number
}

export interface BackendPorts {
  readonly imap: number
  readonly imaps: number
  readonly http: number
}
