/**
 * A connection that a worker has taken. The address that it was accepted on is asked of the system when somebody needs it
 * (a PROXY header, a greeting that shows it): most sessions tell nobody, and the question is a system call.
 */
import type { Socket } from 'node:net'
import { plainAddress } from '../listener/address.ts'
import type { AcceptedConnection } from './services.ts'

type Given = Pick<AcceptedConnection, 'socket' | 'id' | 'number' | 'clientAddress' | 'clientPort'>

export class Connection implements AcceptedConnection {
  readonly socket: Socket
  readonly id: string
  readonly number: number
  readonly clientAddress: string
  readonly clientPort: number

  constructor({ socket, id, number, clientAddress, clientPort }: Given) {
    this.socket = socket
    this.id = id
    this.number = number
    this.clientAddress = clientAddress
    this.clientPort = clientPort
  }

  /** Empty once the connection is closed. */
  get localAddress(): string {
    return plainAddress(this.socket.localAddress ?? '')
  }

  get localPort(): number {
    return this.socket.localPort ?? 0
  }
}
