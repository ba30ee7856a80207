/** perdition: a process per connection. Every account is sent to the one backend without a lookup. */
import { findProgram } from '../../test/support/programs.ts'
import { launch, Unavailable } from './proxy.ts'
import type { ProxyKind } from './proxy.ts'

export const perdition: ProxyKind = {
  name: 'perdition',
  peer: true,
  async start({ legs, port, backendPort, directory }) {
    const program = findProgram('perdition')
    if (program === undefined) throw new Unavailable('not installed')
    // Each of its clients would wait for the alert: minutes for nothing.
    if (legs !== 'plain') throw new Unavailable('its TLS and that of the clients here find no common handshake')
    const args = ['--no_daemon', '--pid_file', '', '--log_facility', `${directory}/perdition.log`]
    args.push('--protocol', 'IMAP4', '--bind_address', '127.0.0.1', '--listen_port', `${port}`)
    args.push('--outgoing_server', '127.0.0.1', '--outgoing_port', `${backendPort}`, '--map_library', '', '--server_resp_line')
    return launch({ name: 'perdition', peer: true, program, args, port, directory })
  },
}
