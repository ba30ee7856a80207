/**
 * The proxy with http listeners on free ports: plain, TLS, and one that believes PROXY headers and Forwarded. Accounts that
 * are mapped go to "new", all others to "old"; a test says which servers those are.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'smol-toml'
import { makeAuthority } from './certificates.ts'
import type { Authority } from './certificates.ts'
import { freePorts } from './ports.ts'
import { Signalbox } from './signalbox.ts'
import type { AdminClient } from './signalbox.ts'
import { makeTemporary } from './temporary.ts'

type Table = Readonly<Record<string, unknown>>

export interface HttpRigOptions {
  /** By name; "old" is the default. Plain unless `tls` says otherwise. */
  readonly destinations: Readonly<Record<string, { readonly port: number; readonly tls?: 'implicit' | 'plain'; readonly keys?: Table }>>
  /** The accounts that "new" has. */
  readonly accounts?: readonly string[]
  readonly routes: readonly Table[]
  readonly http?: Table
  readonly tables?: Readonly<Record<string, Table>>
  readonly listener?: Table
  readonly authority?: Authority
}

export interface HttpRig extends AsyncDisposable {
  readonly plain: number
  readonly tls: number
  /** Believes PROXY headers and Forwarded of its peers. */
  readonly trusting: number
  /** The same with TLS. */
  readonly trustingTls: number
  readonly authority: Authority
  /** File of the authority's certificate. */
  readonly ca: string
  readonly box: Signalbox
  readonly admin: AdminClient
}

export async function startHttpRig(options: HttpRigOptions): Promise<HttpRig> {
  const temporary = await makeTemporary('http')
  try {
    const authority = options.authority ?? (await makeAuthority())
    const certificate = await authority.issue({ names: ['localhost', '127.0.0.1'] })
    const at = (name: string): string => join(temporary.path, name)
    const [plain = 0, tls = 0, trusting = 0, trustingTls = 0, management = 0] = await freePorts(5)
    const token = randomBytes(24).toString('hex')
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('cert.pem'), certificate.cert)
    await writeFile(at('key.pem'), certificate.key, { mode: 0o600 })
    await writeFile(at('token'), `${token}\n`, { mode: 0o600 })
    await writeFile(at('mappings'), (options.accounts ?? []).map((account) => `${account}\tnew\n`).join(''))
    const listener = (port: number, mode: string): Table => ({ protocol: 'http', bind: [`127.0.0.1:${port}`], tls: mode, ...options.listener })
    const believes: Table = { proxy_protocol: 'optional', proxy_trusted: ['127.0.0.1/32'], forwarded: 'trust' }
    const config = {
      ...options.tables,
      server: { threads: 2, shutdown_grace: '1s', log_format: 'json', log_level: 'debug', ...options.tables?.['server'] },
      tls: { certificate: { test: { cert: at('cert.pem'), key: at('key.pem') } } },
      listener: {
        plain: listener(plain, 'plain'),
        tls: listener(tls, 'implicit'),
        trusting: { ...listener(trusting, 'plain'), ...believes },
        trusting_tls: { ...listener(trustingTls, 'implicit'), ...believes },
      },
      destination: Object.fromEntries(
        Object.entries(options.destinations).map(([name, { port, tls: mode = 'plain', keys }]) => [
          name,
          {
            host: '127.0.0.1',
            forwarding: 'none',
            ...(mode === 'plain' ? { allow_plaintext_auth: true } : { tls_server_name: 'localhost', tls_ca: at('ca.pem') }),
            protocol: { http: { port, tls: mode } },
            ...keys,
          },
        ]),
      ),
      routing: { default_destination: 'old' },
      mapping: { source: 'file', normalize: 'lowercase', file: { path: at('mappings') } },
      http: { ...options.http, route: options.routes },
      admin: { bind: `127.0.0.1:${management}`, tls: 'implicit', bearer_token_file: at('token') },
      log: { accounts: 'full' },
    }
    const box = await Signalbox.start({ directory: temporary.path, config: stringify(config), admin: { port: management, token, ca: authority.cert } })
    return {
      plain,
      tls,
      trusting,
      trustingTls,
      authority,
      ca: at('ca.pem'),
      box,
      admin: box.admin,
      [Symbol.asyncDispose]: async () => {
        await box.stop()
        await temporary.remove()
      },
    }
  } catch (error) {
    await temporary.remove()
    throw error
  }
}
