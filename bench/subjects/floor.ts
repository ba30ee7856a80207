/** The floors as subjects: bench/floor.ts, with workers that accept or with node:cluster's round robin, and HTTP's. */
import { join } from 'node:path'
import type { HttpFloorOptions } from '../floor-http.ts'
import type { FloorOptions } from '../floor.ts'
import { launch } from './proxy.ts'
import type { ProxyKind } from './proxy.ts'

export function floor(distribution: FloorOptions['distribution']): ProxyKind {
  const name = distribution === 'kernel' ? 'floor, kernel' : 'floor, round robin'
  return {
    name,
    start({ legs, port, plainPort, backendPort, credentials: { cert, key, ca, ticketKeys }, directory, workers, accounts }) {
      const options: FloorOptions = {
        distribution,
        workers,
        port,
        ...(plainPort === undefined ? {} : { plainPort }),
        backendPort,
        clientTls: legs !== 'plain',
        backendTls: legs === 'both',
        cert,
        key,
        ca,
        ticketKeys,
        accounts,
      }
      return launch({ name, peer: false, program: process.execPath, args: [join(import.meta.dirname, '..', 'floor.ts'), JSON.stringify(options)], port, plainPort, directory })
    },
  }
}

export const httpFloor: ProxyKind = {
  name: 'floor, node:http',
  start({ port, backendPort, directory, workers, accounts }) {
    const options: HttpFloorOptions = { workers, port, backendPort, accounts }
    const args = [join(import.meta.dirname, '..', 'floor-http.ts'), JSON.stringify(options)]
    return launch({ name: 'floor, node:http', peer: false, program: process.execPath, args, port, directory })
  },
}
