/**
 * What the demo writes into its temporary directory: an ordinary configuration file and all it points to. The demo
 * goes through the same door as everybody else (`serve FILE`), so that what it shows is what one gets.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DemoCertificates } from './certificates.ts'
import type { DemoServersPorts } from './servers.ts'

export interface DemoListeners {
  readonly imaps: number
  readonly imap: number
  readonly admin: number
}

export interface DemoSetup {
  /** An existing directory that only this user can read. */
  readonly directory: string
  readonly certificates: DemoCertificates
  readonly listeners: DemoListeners
  readonly servers: DemoServersPorts
  readonly token: string
  /** Identifier → destination. */
  readonly mappings: readonly (readonly [string, string])[]
}

export interface DemoFiles {
  readonly configPath: string
  readonly caPath: string
}

export async function writeDemoFiles(setup: DemoSetup): Promise<DemoFiles> {
  const at = (name: string): string => join(setup.directory, name)
  const write = (name: string, text: string): Promise<void> => writeFile(at(name), text, { mode: 0o600 })
  await write('ca.pem', setup.certificates.ca)
  await write('cert.pem', setup.certificates.cert)
  await write('key.pem', setup.certificates.key)
  await write('token', `${setup.token}\n`)
  await write('mappings', setup.mappings.map((mapping) => `${mapping.join('\t')}\n`).join(''))
  await write('demo.toml', configuration(setup, at))
  return { configPath: at('demo.toml'), caPath: at('ca.pem') }
}

function configuration(setup: DemoSetup, at: (name: string) => string): string {
  const path = (name: string): string => JSON.stringify(at(name))
  const destination = (name: string, port: number, tls: string): string => `
[destination.${name}]
host = "127.0.0.1"
tls_server_name = "localhost"
tls_ca = ${path('ca.pem')}
proxy_protocol = false

[destination.${name}.protocol.imap]
port = ${port}
tls = "${tls}"
`
  return `[server]
threads = 2
shutdown_grace = "1s"
log_format = "json"

[tls.certificate.demo]
cert = ${path('cert.pem')}
key = ${path('key.pem')}

[listener.imaps]
protocol = "imap"
bind = ["127.0.0.1:${setup.listeners.imaps}"]
tls = "implicit"

[listener.imap]
protocol = "imap"
bind = ["127.0.0.1:${setup.listeners.imap}"]
tls = "starttls"
${destination('old', setup.servers.old.implicit, 'implicit')}${destination('new', setup.servers.new.starttls, 'starttls')}
[routing]
default_destination = "old"

[mapping]
source = "file"
normalize = "lowercase"

[mapping.file]
path = ${path('mappings')}

[admin]
bind = "127.0.0.1:${setup.listeners.admin}"
tls = "implicit"
bearer_token_file = ${path('token')}

[log]
accounts = "full"
`
}
