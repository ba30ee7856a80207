/** What the stages of one request share from the moment that its head is read. No behaviour. */
import type { Halt } from '../../destination/halt.ts'
import type { RequestHead } from '../../protocol/http/head.ts'
import type { ClientSide } from './client-side.ts'
import type { RequestBody } from './request-body.ts'
import type { HttpServices, RequestOrigin } from './services.ts'
import type { Traffic } from './traffic.ts'

export interface PendingRequest {
  readonly client: ClientSide
  readonly head: RequestHead
  readonly body: RequestBody
  readonly traffic: Traffic
  readonly origin: RequestOrigin
  readonly services: HttpServices
  /** Ends it before its time: a kick, a client that leaves, silence. */
  readonly halt: Halt
  /** The same for who takes a signal. */
  readonly signal: () => AbortSignal
  /** The client was told to go on with its body. */
  continued: boolean
}
