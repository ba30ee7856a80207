/**
 * Dovecot as an IMAP proxy in its high-performance mode: login processes that serve many clients each, one per core. A
 * static password database sends every account to the one backend (no lookup, which is to its advantage), and the backend's certificate is taken
 * as it is (a file of authorities of its own is not heeded in its login processes). It logs as it does by default.
 */
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findProgram } from '../../test/support/programs.ts'
import { launch, Unavailable } from './proxy.ts'
import type { ProxyKind } from './proxy.ts'

export const dovecot: ProxyKind = {
  name: 'Dovecot',
  peer: true,
  async start({ legs, port, backendPort, credentials, directory, workers }) {
    const program = findProgram('dovecot')
    if (program === undefined) throw new Unavailable('not installed')
    if (process.getuid?.() !== 0) throw new Unavailable('its processes need users of their own: run as root')
    if (!execFileSync(program, ['--version'], { encoding: 'utf8' }).startsWith('2.3.')) throw new Unavailable('the set-up is for version 2.3')
    const path = join(directory, 'dovecot.conf')
    await writeFile(path, `
base_dir = ${directory}/run
state_dir = ${directory}/state
log_path = ${directory}/log
protocols = imap
listen = 127.0.0.1
ssl = ${legs === 'plain' ? 'no' : 'yes'}
ssl_cert = <${credentials.cert}
ssl_key = <${credentials.key}
disable_plaintext_auth = no
auth_mechanisms = plain login
default_client_limit = 20000
default_vsz_limit = 2 G
passdb {
  driver = static
  args = nopassword=y proxy=y host=127.0.0.1 port=${backendPort}${legs === 'both' ? ' ssl=any-cert' : ''}
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
service auth {
  client_limit = 20000
}
service imap-login {
  chroot =
  service_count = 0
  client_limit = ${Math.floor(19_000 / workers)}
  process_min_avail = ${workers}
  process_limit = ${workers}
  inet_listener imap {
    port = ${legs === 'plain' ? port : 0}
  }
  inet_listener imaps {
    port = ${legs === 'plain' ? 0 : port}
    ssl = yes
  }
}
`)
    return launch({ name: 'Dovecot', peer: true, program, args: ['-F', '-c', path], port, directory })
  },
}
