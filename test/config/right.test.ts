import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mistakesOf, type Changes } from '../support/configuration.ts'

test('the sound document is right, and stays so with each of these', async () => {
  const right: readonly Changes[] = [
    {},
    { 'capabilities.submission': { ehlo: ['SIZE 1000'] }, 'capabilities.managesieve': { sieve: ['fileinto'] } },
    { admin: { bind: '127.0.0.1:1', bearer_token: 'x'.repeat(32), metrics_open: true } },
    { 'listener.imap.tls': 'starttls', 'listener.imap.max_connections': 5, 'listener.imap.proxy_protocol': 'off' },
    {
      'server.threads': 2,
      'server.roll_grace': '1h',
      'server.distribution': 'kernel',
      'server.host_down_min_clients': 0,
      'server.user': 'mail',
      'server.group': 'mail',
    },
    {
      'tls.protocols': {
        min_version: '1.3',
        ignore_client_order: true,
        disable_cipher_suites: ['TLS13_AES_256_GCM_SHA384'],
      },
    },
    { 'destination.legacy.forwarding': undefined, 'destination.legacy.proxy_protocol': false },
    { 'destination.legacy.forwarding': undefined, 'server.proxy_ttl': 2 },
    { 'destination.legacy.forwarding': 'xclient', 'destination.legacy.protocol.imap.forwarding': 'proxy' },
    { 'listener.imap.proxy_protocol': 'optional', 'listener.imap.proxy_trusted': ['10.0.0.0/8', '::1/128'] },
    { 'destination.legacy.tls_pinned_cert_sha256': '0'.repeat(64), 'destination.legacy.hide_auth_errors': true },
    {
      'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' },
      'routing.smtp_passthrough_destination': 'legacy',
    },
    { 'capabilities.pop3': { capa: ['TOP'] }, 'destination.legacy.protocol.pop3': { port: 995, tls: 'implicit', forwarding: 'none' } },
    {
      'mapping.on_failure': 'default',
      'mapping.file.watch': true,
      'mapping.audit_rate': 5,
      'mapping.stale_ttl': '1d',
      'mapping.settle': '2s',
    },
    { 'capabilities.imap': { sasl: ['PLAIN'], id: { name: 'x' }, banner: 'hello' }, 'oauth.jwt_username_claim': 'upn' },
    { cluster: { ack_timeout: '1s', instance: 'a', bus_down_ttl: '1s', heartbeat: '2s' } },
    { 'mapping.file.shared': true, cluster: { bus: 'redis://h', channel: 'x', secret: 'x'.repeat(16) } },
    { 'mapping.source': 'redis', 'mapping.redis': { url: 'redis://h', watch: false, wait_replicas: 1 } },
    { 'mapping.source': 'sql', 'mapping.sql': { url: 'sqlite:///a', query: 'q' } },
    { 'destination.legacy.max_connections': 5, 'limits.max_sessions_per_account': 1, 'limits.max_preauth_memory': '1mb', 'tls.watch': true },
    { 'destination.legacy.source_ips': ['127.0.0.2', '::1'] },
    { limits: { preauth_buffer: '8kb', login_hold_max: 5, auth_failure_delay: '2s', max_connections_per_ip: 3 } },
    { log: { accounts: 'full', redaction_key: 'x'.repeat(32) } },
    {
      'listener.web': { protocol: 'http', bind: ['127.0.0.1:1'], tls: 'implicit', forwarded: 'trust' },
      'destination.legacy.protocol.http': { port: 443, tls: 'implicit' },
      'destination.legacy.forwarded': true,
      http: { relay_idle: '5s' },
      'http.route': [{ match: '/a', extract: { from: 'authorization' }, fallback: 'default' }],
    },
  ]
  for (const changes of right) assert.deepEqual(
    await mistakesOf(changes),
    [],
    JSON.stringify(changes),
  )
})
