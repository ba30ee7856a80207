/**
 * HAProxy. In TCP mode it reads no login and routes no account: what a byte pump of its quality costs. In HTTP mode it
 * is a peer for requests. A thread per core, no log.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findProgram } from '../../test/support/programs.ts'
import { launch, Unavailable } from './proxy.ts'
import type { ProxyKind } from './proxy.ts'

export const haproxy: ProxyKind = {
  name: 'HAProxy',
  peer: true,
  async start({ legs, protocol, port, backendPort, credentials, directory, workers }) {
    const program = findProgram('haproxy')
    if (program === undefined) throw new Unavailable('not installed')
    const client = legs === 'plain' ? '' : ` ssl crt ${credentials.pair} ssl-min-ver TLSv1.2`
    const backend = legs === 'both' ? ` ssl verify required ca-file ${credentials.ca} verifyhost localhost sni str(localhost)` : ''
    const path = join(directory, 'haproxy.cfg')
    await writeFile(path, `
global
  nbthread ${workers}
  maxconn 9000
  tune.ssl.default-dh-param 2048
defaults
  mode ${protocol === 'http' ? 'http' : 'tcp'}
  timeout connect 10s
  timeout client 600s
  timeout server 600s
${protocol === 'http' ? '  option http-keep-alive\n  http-reuse always' : ''}
frontend front
  bind 127.0.0.1:${port} backlog 4096${client}
  default_backend back
backend back
  server one 127.0.0.1:${backendPort}${backend}
`)
    return launch({ name: 'HAProxy', peer: true, program, args: ['-db', '-f', path], port, directory })
  },
}
