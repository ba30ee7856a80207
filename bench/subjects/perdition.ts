/** perdition: a process per connection. Every account is sent to the one backend without a lookup. */
import { findProgram } from '../../test/support/programs.ts'
import { launch, Unavailable } from './proxy.ts'
import type { ProxyKind } from './proxy.ts'

export const perdition: ProxyKind = {
  name: 'perdition',
  peer: true,
  async start({ legs, port, backendPort, credentials, directory }) {
    const program = findProgram('perdition')
    if (program === undefined) throw new Unavailable('not installed')
    const tlsArgs = ['--ssl_cert_file', credentials.cert, '--ssl_key_file', credentials.key, '--ssl_ca_file', credentials.ca, '--ssl_no_cn_verify', '--ssl_no_client_cert_verify']
    const args = ['--no_daemon', '--pid_file', '', '--log_facility', `${directory}/perdition.log`]
    args.push('--protocol', legs === 'plain' ? 'IMAP4' : 'IMAP4S', '--bind_address', '127.0.0.1', '--listen_port', `${port}`)
    args.push('--outgoing_server', '127.0.0.1', '--outgoing_port', `${backendPort}`, '--map_library', '', '--server_resp_line')
    if (legs !== 'plain') args.push('--ssl_mode', legs === 'both' ? 'ssl_all' : 'ssl_listen', ...tlsArgs)
    return launch({ name: 'perdition', peer: true, program, args, port, directory })
  },
}
