/**
 * The proxy under test, started as users start it: `node src/main.ts serve FILE`, with a mapping file, the management
 * API (and so metrics, health and the list of sessions), and a log that is written to a file.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { freePort } from '../../test/support/ports.ts'
import { earlierName } from '../question.ts'
import { launch } from './proxy.ts'
import type { ProxyKind, ProxyOptions } from './proxy.ts'

const OURS = join(import.meta.dirname, '..', '..')
const CONNECTIONS = 40_000
const LINES_AT_ONCE = 100_000
/** What would overrule the configuration. */
const OVERRIDES = ['PROXY_CONFIG', 'PROXY_ADMIN_TOKEN', 'SIGNALBOX_CLUSTER_SECRET', 'LOG_LEVEL', 'RUST_LOG', 'NODE_OPTIONS']

export type Distribution = 'kernel' | 'primary'

interface Variant {
  readonly distribution: Distribution
  readonly name: string
  readonly more: Readonly<Record<string, object>>
  /** An earlier state of the project, in place of this one. */
  readonly checkout?: string
}

/** @param more Further tables, by path of the document's first level, in place of those written here. */
export function signalbox(distribution: Distribution, name = `Signalbox, ${distribution}`, more: Readonly<Record<string, object>> = {}): ProxyKind {
  const ours: Variant = { distribution, name, more }
  return { ...kindOf(ours), earlier: (checkout) => kindOf({ ...ours, name: earlierName(name), checkout }) }
}

function kindOf({ distribution, name, more, checkout }: Variant): ProxyKind {
  const main = join(checkout ?? OURS, 'src', 'main.ts')
  return {
    name,
    async start(options) {
      const { directory, accounts, port, plainPort, proxyArguments } = options
      const mappings = join(directory, 'mappings.tsv')
      writeMappings(mappings, accounts)
      const config = join(directory, 'signalbox.toml')
      const document = { ...(await settings(options, distribution, mappings)), ...more }
      await writeFile(config, stringify(document), { mode: 0o600 })
      const env = Object.fromEntries(Object.entries(process.env).filter(([variable]) => !OVERRIDES.includes(variable)))
      // What is added on purpose is for what is judged.
      const added = checkout === undefined ? proxyArguments : []
      return launch({ name, peer: false, program: process.execPath, args: [...added, main, 'serve', config], port, plainPort, directory, env })
    },
  }
}

/** A mapping file: user0@example.com … all on the one backend. */
function writeMappings(path: string, accounts: number): void {
  const file = openSync(path, 'w')
  for (let first = 0; first < accounts; first += LINES_AT_ONCE) {
    const count = Math.min(LINES_AT_ONCE, accounts - first)
    writeSync(file, Array.from({ length: count }, (_, index) => `user${first + index}@example.com\tbackend\n`).join(''))
  }
  closeSync(file)
}

async function settings(options: ProxyOptions, distribution: Distribution, mappings: string): Promise<Record<string, object>> {
  const { legs, protocol, port, plainPort, backendPort, credentials, workers } = options
  const clientTls = legs === 'plain' ? 'plain' : 'implicit'
  const backendTls = legs === 'both' ? 'implicit' : 'plain'
  return {
    server: { threads: workers, distribution, log_format: 'json' },
    tls: { certificate: { main: { cert: credentials.cert, key: credentials.key } } },
    listener: {
      [protocol]: { protocol, bind: [`127.0.0.1:${port}`], tls: clientTls, max_connections: CONNECTIONS },
      ...(plainPort === undefined ? {} : { plain: { protocol, bind: [`127.0.0.1:${plainPort}`], tls: 'plain', max_connections: CONNECTIONS } }),
    },
    destination: {
      backend: {
        host: '127.0.0.1',
        tls_server_name: 'localhost',
        tls_ca: credentials.ca,
        forwarding: 'none',
        allow_plaintext_auth: true,
        protocol: { [protocol]: { port: backendPort, tls: backendTls } },
      },
    },
    routing: { default_destination: 'backend' },
    mapping: { source: 'file', file: { path: mappings } },
    capabilities: { imap: { allow_plain_auth_without_tls: true } },
    ...(protocol === 'http' ? { http: { max_keepalive_requests: 1_000_000_000, route: [{ match: '/**', extract: { from: 'authorization' } }] } } : {}),
    admin: { bind: `127.0.0.1:${await freePort()}`, bearer_token: randomBytes(24).toString('hex') },
  }
}
