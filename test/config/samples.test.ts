/**
 * Configurations of the kinds that users of the Stalwart migration proxy have: a Dovecot and Postfix behind XCLIENT,
 * two Stalwarts with HTTP routes, nodes of a cluster by SQL, sources and listeners in their variants. They must pass
 * schema and rules as they are.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { checkText, type Loaded } from '../../src/config/load.ts'
import { mistakeText } from '../../src/config/mistake.ts'
import { makeSelfSigned } from '../support/certificates.ts'
import { makeTemporary } from '../support/temporary.ts'

const PROTOCOL_PORTS = { imap: [993, 'implicit'], pop3: [995, 'implicit'], submission: [587, 'starttls'], managesieve: [4190, 'starttls'], http: [443, 'implicit'], smtp: [25, 'plain'] } as const

function legs(destination: string, ...protocols: readonly (keyof typeof PROTOCOL_PORTS)[]): string {
  return protocols.map((protocol) => {
    const [port, tls] = PROTOCOL_PORTS[protocol]
    return `[destination.${destination}.protocol.${protocol}]\nport = ${port}\ntls = "${tls}"\n`
  }).join('')
}

function listener(name: string, protocol: string, port: number, tls: string, more = ''): string {
  return `[listener.${name}]\nprotocol = "${protocol}"\nbind = ["0.0.0.0:${port}", "[::]:${port}"]\ntls = "${tls}"\n${more}`
}

const HEAD = `[server]\nhostname = "mx.example.net"\n[tls.certificate.default]\ncert = "DIR/chain.pem"\nkey = "DIR/key.pem"\ndefault = true\n`
const ADMIN = `[admin]\nbind = "127.0.0.1:9443"\ntls = "implicit"\nbearer_token_file = "DIR/token"\nmin_token_len = 32\nlockout_threshold = 5\nlockout_duration = "5m"\n`
const FILE = `[mapping]\nsource = "file"\nnormalize = "lowercase"\nnegative_ttl = "30s"\npositive_ttl = "10m"\n[mapping.file]\npath = "DIR/mappings.tsv"\n`

async function load(text: string): Promise<Loaded> {
  await using directory = await makeTemporary('samples')
  const { cert, key } = await makeSelfSigned({ names: ['mx.example.net'] })
  await Promise.all([
    writeFile(`${directory.path}/chain.pem`, cert),
    writeFile(`${directory.path}/key.pem`, key),
    writeFile(`${directory.path}/token`, `${'t'.repeat(40)}\n`),
  ])
  return await checkText(text.replaceAll('DIR', directory.path), undefined, {}, { localAddresses: [] })
}

async function sound(text: string): Promise<Loaded & { ok: true }> {
  const loaded = await load(text)
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.mistakes.map(mistakeText).join('\n'))
  return loaded
}

test('a Dovecot and Postfix behind XCLIENT beside a new server behind PROXY', async () => {
  const { config } = await sound(`${HEAD}${FILE}${ADMIN}
[routing]
default_destination = "legacy"
smtp_passthrough_destination = "stalwart"
[destination.legacy]
host = "10.1.0.10"
tls_server_name = "imap.legacy.example.net"
forwarding = "xclient"
tls_pinned_cert_sha256 = "${'0a:'.repeat(31)}0B"
${['imap:143', 'pop3:110', 'submission:587', 'managesieve:4190'].map((leg) => `[destination.legacy.protocol.${leg.split(':')[0]}]\nport = ${leg.split(':')[1]}\ntls = "starttls"\n`).join('')}
[destination.stalwart]
host = "new.example.net"
tls_server_name = "new.example.net"
forwarding = "proxy"
proxy_protocol = true
forwarded = true
${legs('stalwart', 'imap', 'pop3', 'submission', 'managesieve', 'smtp')}
${listener('imaps', 'imap', 993, 'implicit')}${listener('imap', 'imap', 143, 'starttls')}
${listener('pop3s', 'pop3', 995, 'implicit')}${listener('pop3', 'pop3', 110, 'starttls')}
${listener('submission', 'submission', 587, 'starttls')}${listener('submissions', 'submission', 465, 'implicit')}
${listener('managesieve', 'managesieve', 4190, 'starttls')}${listener('smtp', 'smtp', 25, 'plain')}`)
  assert.equal(config.listeners.length, 8)
  assert.equal(config.destinations[0]?.legs.imap?.forwarding, 'xclient')
  assert.equal(config.destinations[1]?.legs.smtp?.forwarding, 'proxy')
  assert.equal(config.mapping.positiveTtl, 600_000)
})

test('two Stalwarts with routes by path, by body and by login', async () => {
  const destination = (name: string): string => `[destination.${name}]\nhost = "${name}.example.net"\ntls_server_name = "${name}.example.net"\nforwarding = "proxy"\nproxy_protocol = true\nforwarded = true\n`
  const { config } = await sound(`${HEAD}${FILE}
[routing]
default_destination = "old"
smtp_passthrough_destination = "new"
${destination('old')}${legs('old', 'imap', 'pop3', 'submission', 'managesieve', 'http')}
${destination('new')}${legs('new', 'imap', 'pop3', 'submission', 'managesieve', 'http', 'smtp')}
[[http.route]]
match = "/authorize/**"
destination = "old"
[[http.route]]
match = "/login"
destination = "new"
[[http.route]]
match = "/auth/token"
extract = { from = "body", regex = "client_id=([^&]+)" }
fallback = "old"
[[http.route]]
match = "/oauth/authorize"
extract = { from = "query", param = "login_hint" }
fallback = "default"
[[http.route]]
match = "/**"
extract = { from = "authorization" }
fallback = "default"
${listener('imaps', 'imap', 993, 'implicit')}${listener('managesieve', 'managesieve', 4190, 'starttls')}
${listener('https', 'http', 443, 'implicit', 'forwarded = "off"\n')}${listener('smtp', 'smtp', 25, 'plain')}`)
  assert.deepEqual(config.http.routes[2], { match: '/auth/token', destination: undefined, extract: { from: 'body', regex: 'client_id=([^&]+)' }, fallback: 'old' })
})

test('nodes of a cluster, assigned in a database', async () => {
  const node = (number: number): string => `[destination.node${number}]\nhost = "10.1.0.${number}"\ntls_server_name = "node${number}.example.net"\nproxy_protocol = true\nforwarding = "proxy"\nforwarded = true\n${legs(`node${number}`, 'imap', 'submission', 'http')}`
  const { config } = await sound(`${HEAD}${ADMIN}
[mapping]
source = "sql"
normalize = "lowercase"
positive_ttl = "30m"
[mapping.sql]
url = "postgres://proxy:pw@10.1.1.1/cluster"
query = "SELECT node FROM nodes WHERE account = $1"
upsert_query = "INSERT INTO nodes VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET node = excluded.node"
delete_query = "DELETE FROM nodes WHERE account = $1"
[routing]
default_destination = "node1"
${[1, 2, 3].map(node).join('')}
[[http.route]]
match = "/**"
extract = { from = "authorization" }
fallback = "default"
${listener('imap', 'imap', 993, 'implicit')}${listener('submission', 'submission', 587, 'starttls')}${listener('https', 'http', 443, 'implicit', 'forwarded = "off"\n')}`)
  assert.equal(config.mapping.sql?.poolSize, 16)
  assert.equal(config.destinations.length, 3)
})

test('the Redis source, a load balancer in front, and every key of [server]', async () => {
  const { config } = await sound(`
[server]
threads = 0
hostname = "mx.example.net"
shutdown_grace = "45s"
bridge_idle = "1h"
backend_timeout = "10s"
backend_connect_retries = 1
host_down_threshold = 0
host_down_cooldown = "30s"
proxy_ttl = 7
log_level = "info"
[tls.certificate.primary]
cert = "DIR/chain.pem"
key = "DIR/key.pem"
subjects = ["mx.example.net", "*.example.net"]
default = true
[tls.protocols]
min_version = "1.2"
ignore_client_order = false
disable_cipher_suites = ["TLS13_AES_256_GCM_SHA384"]
[mapping]
source = "redis"
normalize = "lowercase"
[mapping.redis]
url = "redis://10.1.1.2:6379"
key_prefix = "route:"
pool_size = 16
[oauth]
jwt_username_claim = "email"
[capabilities.imap]
banner = "IMAP4rev2 at your service."
allow_plain_auth_without_tls = false
sasl = ["PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]
[routing]
default_destination = "local"
[destination.local]
host = "127.0.0.1"
allow_plaintext_auth = true
source_ips = ["10.1.2.5", "10.1.2.6"]
[destination.local.protocol.imap]
port = 1143
tls = "plain"
[listener.imap]
protocol = "imap"
bind = ["0.0.0.0:993"]
tls = "implicit"
proxy_protocol = "required"
proxy_trusted = ["10.0.0.0/8"]
`)
  assert.equal(config.cluster.bus, 'redis://10.1.1.2:6379')
  assert.deepEqual(config.tls.disabledCipherSuites, ['TLS_AES_256_GCM_SHA384'])
})

test('databases of the other kinds, read only', async () => {
  for (const url of ['mysql://proxy:pw@10.1.1.1/mail', 'sqlite:///var/lib/proxy/routes.db']) {
    const loaded = await sound(`${HEAD}
[mapping]
source = "sql"
[mapping.sql]
url = "${url}"
query = "SELECT destination FROM routes WHERE account = ?"
pool_size = 16
[routing]
default_destination = "a"
[destination.a]
host = "a.example.net"
${legs('a', 'imap')}${listener('imap', 'imap', 993, 'implicit')}`)
    assert.equal(loaded.config.mapping.sql?.upsertQuery, undefined)
  }
})
