/** The floor as a subject: bench/floor.ts, with workers that accept, or with node:cluster's round robin. */
import { join } from 'node:path'
import type { FloorOptions } from '../floor.ts'
import { launch } from './proxy.ts'
import type { ProxyKind } from './proxy.ts'

export function floor(distribution: FloorOptions['distribution']): ProxyKind {
  const name = distribution === 'kernel' ? 'floor, kernel' : 'floor, round robin'
  return {
    name,
    start({ legs, port, backendPort, credentials: { cert, key, ca, ticketKeys }, directory, workers, accounts }) {
      const options: FloorOptions = {
        distribution,
        workers,
        port,
        backendPort,
        clientTls: legs !== 'plain',
        backendTls: legs === 'both',
        cert,
        key,
        ca,
        ticketKeys,
        accounts,
      }
      return launch({ name, program: process.execPath, args: [join(import.meta.dirname, '..', 'floor.ts'), JSON.stringify(options)], port, directory })
    },
  }
}
