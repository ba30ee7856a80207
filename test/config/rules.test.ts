import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkChanged, mistakesOf, type Changes } from '../support/configuration.ts'

const LEG = { port: 993, tls: 'implicit' }
const HTTP_LEG = { port: 443, tls: 'implicit' }

/** A rule: changes that break it (with what the one mistake must say), and changes that keep it. */
interface Rule {
  readonly name: string
  readonly bad: readonly (readonly [Changes, RegExp])[]
  readonly good: readonly Changes[]
}

const HTTP: Changes = {
  'listener.web': { protocol: 'http', bind: ['127.0.0.1:8443'], tls: 'implicit' },
  'destination.legacy.protocol.http': HTTP_LEG,
  'http.route': [{ match: '/**', destination: 'legacy' }],
}

const RULES: readonly Rule[] = [
  {
    name: 'the default destination is set and exists',
    bad: [
      [{ routing: undefined }, /^routing\.default_destination: must be set/],
      [
        { 'routing.default_destination': 'legcy' },
        /^routing\.default_destination: no such destination; found "legcy"; did you mean "legacy"\?$/,
      ],
      [{ 'routing.default_destination': 'zzz' }, /no such destination; found "zzz"; allowed: legacy, stalwart$/],
    ],
    good: [{ 'routing.default_destination': 'stalwart' }],
  },
  {
    name: 'the default destination serves what listeners serve',
    bad: [
      [
        { 'destination.legacy.protocol': { pop3: LEG } },
        /^destination\.legacy\.protocol\.imap: the default destination needs this leg/,
      ],
      [
        { 'listener.pop': { protocol: 'pop3', bind: ['127.0.0.1:1110'], tls: 'plain' } },
        /^destination\.legacy\.protocol\.pop3: /,
      ],
      [
        { 'listener.sieve': { protocol: 'managesieve', bind: ['127.0.0.1:4190'], tls: 'plain' } },
        /^destination\.legacy\.protocol\.managesieve: /,
      ],
      [
        { 'listener.sub': { protocol: 'submission', bind: ['127.0.0.1:1587'], tls: 'plain' } },
        /^destination\.legacy\.protocol\.submission: /,
      ],
    ],
    good: [
      {
        'listener.pop': { protocol: 'pop3', bind: ['127.0.0.1:1110'], tls: 'plain' },
        'destination.legacy.protocol.pop3': LEG,
      },
    ],
  },
  {
    name: 'a pass-through destination is set and exists when smtp or lmtp is served',
    bad: [
      [
        { 'listener.smtp': { protocol: 'smtp', bind: ['127.0.0.1:1025'], tls: 'plain' } },
        /^routing\.smtp_passthrough_destination: must be set, because a listener serves smtp/,
      ],
      [
        { 'listener.lmtp': { protocol: 'lmtp', bind: ['127.0.0.1:1024'], tls: 'plain' } },
        /must be set, because a listener serves lmtp/,
      ],
      [
        { 'routing.smtp_passthrough_destination': 'stalwrat' },
        /^routing\.smtp_passthrough_destination: no such destination; .*did you mean "stalwart"\?$/,
      ],
    ],
    good: [
      {
        'listener.smtp': { protocol: 'smtp', bind: ['127.0.0.1:1025'], tls: 'plain' },
        'routing.smtp_passthrough_destination': 'legacy',
        'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' },
      },
    ],
  },
  {
    name: 'the pass-through destination declares smtp, and lmtp where lmtp is served',
    bad: [
      [
        { 'routing.smtp_passthrough_destination': 'legacy' },
        /^destination\.legacy\.protocol\.smtp: the pass-through destination needs this leg$/,
      ],
      [
        {
          'routing.smtp_passthrough_destination': 'legacy',
          'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' },
          'listener.lmtp': { protocol: 'lmtp', bind: ['127.0.0.1:1024'], tls: 'plain' },
        },
        /^destination\.legacy\.protocol\.lmtp: /,
      ],
    ],
    good: [
      {
        'routing.smtp_passthrough_destination': 'legacy',
        'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' },
      },
    ],
  },
  {
    name: 'PROXY headers are read from trusted networks only',
    bad: [
      [
        { 'listener.imap.proxy_protocol': 'required' },
        /^listener\.imap\.proxy_trusted: must be set, because proxy_protocol is "required"/,
      ],
      [
        { 'listener.imap.proxy_protocol': 'optional', 'listener.imap.proxy_trusted': [] },
        /^listener\.imap\.proxy_trusted: must be set/,
      ],
    ],
    good: [{ 'listener.imap.proxy_protocol': 'required', 'listener.imap.proxy_trusted': ['10.0.0.0/8'] }],
  },
  {
    name: 'connections are not counted by address where the kernel hands them out',
    bad: [
      [
        { 'server.distribution': 'kernel', 'limits.max_connections_per_ip': 20 },
        /^limits\.max_connections_per_ip: cannot be counted with server\.distribution = "kernel"/,
      ],
    ],
    good: [{ 'server.distribution': 'kernel' }, { 'limits.max_connections_per_ip': 20 }],
  },
  {
    name: 'no credential travels over a plain leg unless the destination permits it',
    bad: (['imap', 'pop3', 'managesieve', 'submission', 'http'] as const).map((protocol) => [
      { [`destination.stalwart.protocol.${protocol}`]: { port: 1, tls: 'plain' } },
      new RegExp(`^destination\\.stalwart\\.protocol\\.${protocol}\\.tls: ${protocol} carries passwords`),
    ]),
    good: [
      { 'destination.legacy.protocol.imap.tls': 'plain', 'destination.legacy.allow_plaintext_auth': true },
      { 'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' } },
    ],
  },
  {
    name: 'an address as host tells the name in its certificate',
    bad: [
      [
        { 'destination.legacy.host': '10.0.0.1' },
        /^destination\.legacy\.tls_server_name: must be set, because the host is an address/,
      ],
      [{ 'destination.legacy.host': '2001:db8::1' }, /^destination\.legacy\.tls_server_name: /],
    ],
    good: [
      { 'destination.legacy.host': '10.0.0.1', 'destination.legacy.tls_server_name': 'legacy.example.com' },
      {
        'destination.legacy.host': '10.0.0.1',
        'destination.legacy.allow_plaintext_auth': true,
        'destination.legacy.protocol.imap.tls': 'plain',
      },
    ],
  },
  {
    name: 'the chosen source has its table',
    bad: [
      [{ 'mapping': { source: 'file' } }, /^mapping\.file: the table is missing, though mapping\.source is "file"$/],
      [{ 'mapping.source': 'redis' }, /^mapping\.redis: the table is missing/],
      [{ 'mapping.source': 'sql' }, /^mapping\.sql: the table is missing/],
      [{ mapping: undefined }, /^mapping\.source: must be set; allowed: "file", "redis" or "sql"$/],
    ],
    good: [
      { mapping: { source: 'redis', redis: { url: 'redis://127.0.0.1' } } },
      { mapping: { source: 'sql', sql: { url: 'sqlite://a.db', query: 'SELECT 1' } } },
    ],
  },
  {
    name: 'a route has a destination or extract',
    bad: [
      [{ ...HTTP, 'http.route': [{ match: '/a' }] }, /^http\.route\[0\]: a route needs a destination or extract$/],
      [
        { ...HTTP, 'http.route': [{ match: '/a', destination: 'legacy', extract: { from: 'authorization' } }] },
        /^http\.route\[0\]: a route has a destination or extract, not both$/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', destination: 'legacy', fallback: 'default' }] },
        /^http\.route\[0\]\.fallback: belongs to extract/,
      ],
    ],
    good: [HTTP, { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'authorization' }, fallback: 'default' }] }],
  },
  {
    name: 'routes lead to declared destinations that declare http',
    bad: [
      [
        { ...HTTP, 'http.route': [{ match: '/a', destination: 'stalwrt' }] },
        /^http\.route\[0\]\.destination: no such destination; found "stalwrt"; did you mean "stalwart"\?$/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', destination: 'stalwart' }] },
        /^http\.route\[0\]\.destination: the destination "stalwart" declares no http leg$/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'authorization' }, fallback: 'stalwart' }] },
        /^http\.route\[0\]\.fallback: the destination "stalwart" declares no http leg$/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'authorization' }, fallback: 'nowhere' }] },
        /^http\.route\[0\]\.fallback: no such destination/,
      ],
    ],
    good: [
      {
        ...HTTP,
        'destination.stalwart.protocol.http': HTTP_LEG,
        'http.route': [{ match: '/a', extract: { from: 'authorization' }, fallback: 'stalwart' }],
      },
    ],
  },
  {
    name: 'the default destination declares http where a route can lead to it',
    bad: [
      [
        {
          ...HTTP,
          'destination.legacy.protocol': { imap: { port: 143, tls: 'starttls' } },
          'http.route': [{ match: '/a', extract: { from: 'authorization' } }],
        },
        /^destination\.legacy\.protocol\.http: the default destination needs this leg/,
      ],
    ],
    good: [{ ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'authorization' } }] }],
  },
  {
    name: 'extract has the field that its source needs and no other',
    bad: [
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'query' } }] },
        /^http\.route\[0\]\.extract\.param: must be set, because from is "query"$/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'header' } }] },
        /^http\.route\[0\]\.extract\.header: must be set/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'body' } }] },
        /^http\.route\[0\]\.extract\.regex: must be set/,
      ],
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'authorization', param: 'x' } }] },
        /^http\.route\[0\]\.extract\.param: means nothing when from is "authorization"$/,
      ],
      [{ ...HTTP, 'http.route': [{ match: '/a', extract: {} }] }, /^http\.route\[0\]\.extract\.from: must be set/],
      [
        { ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'body', regex: '(a)\\1' } }] },
        /^http\.route\[0\]\.extract\.regex: RE2 does not take it: .*invalid escape sequence/,
      ],
      [{ ...HTTP, 'http.route': [{ match: '/a', extract: { from: 'body', regex: '\\Q(\\E' } }] }, /^http\.route\[0\]\.extract\.regex: has no group/],
    ],
    good: [
      {
        ...HTTP,
        'http.route': [
          { match: '/a', extract: { from: 'query', param: 'u' } },
          { match: '/b', extract: { from: 'header', header: 'X-User' } },
          { match: '/c', extract: { from: 'body', regex: 'u=([^&]+)' } },
        ],
      },
    ],
  },
  {
    name: 'globs compile',
    bad: [
      [
        { ...HTTP, 'http.route': [{ match: '/[a', destination: 'legacy' }] },
        /^http\.route\[0\]\.match: a \[ is not closed/,
      ],
    ],
    good: [{ ...HTTP, 'http.route': [{ match: '/{a,b}/**', destination: 'legacy' }] }],
  },
  {
    name: 'no destination is one of our own listeners',
    bad: [
      [
        { 'destination.legacy.host': 'localhost', 'destination.legacy.protocol.imap.port': 1143 },
        /^destination\.legacy\.protocol\.imap\.port: localhost:1143 is our own listener\.imap/,
      ],
      [
        {
          'destination.legacy.host': '127.0.0.1',
          'destination.legacy.tls_server_name': 'a',
          'destination.legacy.protocol.imap.port': 1143,
        },
        /is our own listener\.imap/,
      ],
      [
        {
          'listener.imap.bind': ['0.0.0.0:143'],
          'destination.legacy.host': '192.0.2.7',
          'destination.legacy.tls_server_name': 'a',
        },
        /192\.0\.2\.7:143 is our own listener\.imap/,
      ],
      [
        {
          'listener.imap.bind': ['[::]:143'],
          'destination.legacy.host': '2001:DB8:0::7',
          'destination.legacy.tls_server_name': 'a',
        },
        /is our own listener\.imap/,
      ],
      [
        {
          'listener.imap.bind': ['0.0.0.0:143'],
          'destination.legacy.host': '127.9.9.9',
          'destination.legacy.tls_server_name': 'a',
        },
        /is our own listener\.imap/,
      ],
    ],
    good: [
      { 'destination.legacy.host': '127.0.0.1', 'destination.legacy.tls_server_name': 'a' },
      {
        'listener.imap.bind': ['0.0.0.0:143'],
        'destination.legacy.host': '192.0.2.8',
        'destination.legacy.tls_server_name': 'a',
      },
      {
        'listener.imap.bind': ['[::]:143'],
        'destination.legacy.host': '127.0.0.1',
        'destination.legacy.tls_server_name': 'a',
      },
      {
        'listener.imap.bind': ['192.0.2.7:143'],
        'destination.legacy.host': '127.0.0.1',
        'destination.legacy.tls_server_name': 'a',
      },
    ],
  },
  {
    name: 'two listeners do not share an address',
    bad: [
      [
        { 'listener.two': { protocol: 'imap', bind: ['127.0.0.1:1143'], tls: 'plain' } },
        /^listener\.two\.bind: 127\.0\.0\.1:1143 is taken already: listener\.imap binds 127\.0\.0\.1:1143$/,
      ],
      [
        { 'listener.two': { protocol: 'imap', bind: ['0.0.0.0:1143'], tls: 'plain' } },
        /^listener\.two\.bind: 0\.0\.0\.0:1143 is taken already/,
      ],
      [{ 'listener.imap.bind': ['[::1]:1', '[0:0::1]:1'] }, /^listener\.imap\.bind: .*this listener binds \[::1\]:1$/],
      [
        { admin: { bind: '127.0.0.1:1143', bearer_token: 'x'.repeat(32) } },
        /^admin\.bind: 127\.0\.0\.1:1143 is taken already/,
      ],
    ],
    good: [
      { 'listener.imap.bind': ['0.0.0.0:993', '[::]:993'] },
      { 'listener.imap.bind': ['127.0.0.1:0', '127.0.0.1:0'] },
      { 'listener.imap.bind': ['127.0.0.1:1', '127.0.0.2:1'] },
    ],
  },
  {
    name: 'xclient is not set on an smtp, lmtp or http leg',
    bad: (['smtp', 'lmtp', 'http'] as const).map((protocol) => [
      { [`destination.legacy.protocol.${protocol}`]: { port: 1, tls: 'implicit', forwarding: 'xclient' } },
      new RegExp(`^destination\\.legacy\\.protocol\\.${protocol}\\.forwarding: ${protocol} cannot carry XCLIENT`),
    ]),
    good: [
      { 'destination.legacy.forwarding': 'xclient', 'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' } },
      { 'destination.legacy.protocol.imap.forwarding': 'xclient' },
    ],
  },
  {
    name: 'smtp, lmtp and http know no starttls, neither at listeners nor towards destinations',
    bad: [
      [
        { 'listener.web': { protocol: 'http', bind: ['127.0.0.1:1'], tls: 'starttls' } },
        /^listener\.web\.tls: http knows no starttls here/,
      ],
      [
        {
          'listener.smtp': { protocol: 'smtp', bind: ['127.0.0.1:1'], tls: 'starttls' },
          'routing.smtp_passthrough_destination': 'legacy',
          'destination.legacy.protocol.smtp': { port: 25, tls: 'plain' },
        },
        /^listener\.smtp\.tls: smtp knows no starttls/,
      ],
      [
        { 'destination.legacy.protocol.http': { port: 1, tls: 'starttls' } },
        /^destination\.legacy\.protocol\.http\.tls: http legs know no starttls/,
      ],
      [
        { 'destination.legacy.protocol.smtp': { port: 1, tls: 'starttls' } },
        /^destination\.legacy\.protocol\.smtp\.tls: smtp legs know no starttls/,
      ],
    ],
    good: [{ 'listener.imap.tls': 'starttls' }, { 'destination.legacy.protocol.lmtp': { port: 24, tls: 'plain' } }],
  },
  {
    name: 'the file source and a bus go together only when the file is shared',
    bad: [
      [{ 'cluster.bus': 'redis://127.0.0.1' }, /^mapping\.file\.shared: the file source and a bus go together only/],
    ],
    good: [
      { 'cluster.bus': 'redis://127.0.0.1', 'mapping.file.shared': true },
      { 'cluster.bus': 'redis://127.0.0.1', mapping: { source: 'redis', redis: { url: 'redis://h' } } },
    ],
  },
  {
    name: 'there is a listener',
    bad: [[{ listener: undefined }, /^listener: at least one \[listener\.<name>\] is needed$/]],
    good: [{}],
  },
  {
    name: 'client certificate and key come together',
    bad: [
      [
        { 'destination.legacy.tls_client_cert': 'a.pem' },
        /^destination\.legacy\.tls_client_key: must be set, because tls_client_cert is$/,
      ],
      [
        { 'destination.legacy.tls_client_key': 'a.key' },
        /^destination\.legacy\.tls_client_cert: must be set, because tls_client_key is$/,
      ],
    ],
    good: [],
  },
  {
    name: 'a cipher suite is left',
    bad: [
      [
        {
          'tls.protocols': {
            min_version: '1.3',
            disable_cipher_suites: [
              'TLS13_AES_256_GCM_SHA384',
              'TLS13_AES_128_GCM_SHA256',
              'TLS13_CHACHA20_POLY1305_SHA256',
            ],
          },
        },
        /^tls\.protocols\.disable_cipher_suites: no cipher suite is left$/,
      ],
    ],
    good: [
      {
        'tls.protocols': {
          min_version: '1.2',
          disable_cipher_suites: [
            'TLS13_AES_256_GCM_SHA384',
            'TLS13_AES_128_GCM_SHA256',
            'TLS13_CHACHA20_POLY1305_SHA256',
          ],
        },
      },
    ],
  },
  {
    name: 'what the proxy says itself is not configured, and IMAP says which IMAP it is',
    bad: [
      [
        { 'capabilities.imap.advertise': ['IMAP4rev1', 'STARTTLS'] },
        /^capabilities\.imap\.advertise: "STARTTLS" is added by the proxy itself/,
      ],
      [{ 'capabilities.imap.advertise': ['IMAP4rev1', 'AUTH=PLAIN'] }, /"AUTH=PLAIN" is added/],
      [
        { 'capabilities.imap.advertise': ['ID'] },
        /^capabilities\.imap\.advertise: IMAP4rev1 or IMAP4rev2 must be among them$/,
      ],
      [{ 'capabilities.pop3.capa': ['SASL PLAIN'] }, /^capabilities\.pop3\.capa: "SASL PLAIN" is added/],
      [{ 'capabilities.submission.ehlo': ['AUTH PLAIN'] }, /^capabilities\.submission\.ehlo: "AUTH PLAIN" is added/],
    ],
    good: [
      {
        'capabilities.imap.advertise': ['IMAP4rev2', 'AUTHENTICATED'],
        'capabilities.pop3.capa': ['TOP', 'EXPIRE 30'],
        'capabilities.submission.ehlo': ['SIZE 1000'],
      },
    ],
  },
  {
    name: 'the management API names a certificate that exists',
    bad: [
      [
        { admin: { bind: '127.0.0.1:1', bearer_token: 'x'.repeat(32), certificate: 'main' } },
        /^admin\.certificate: no such certificate; found "main"$/,
      ],
    ],
    good: [{ admin: { bind: '127.0.0.1:1', bearer_token: 'x'.repeat(32) } }],
  },
]

test('the document that the rules are tried on is sound', async () => {
  assert.deepEqual(await mistakesOf({}), [])
})

for (const rule of RULES) {
  test(rule.name, async () => {
    for (const [changes, expected] of rule.bad) {
      const mistakes = await mistakesOf(changes)
      assert.equal(mistakes.length, 1, `${JSON.stringify(changes)} → ${mistakes.join('\n')}`)
      assert.match(mistakes[0] ?? '', expected)
    }
    for (const changes of rule.good) assert.deepEqual(await mistakesOf(changes), [], JSON.stringify(changes))
  })
}

test('a rule whose key is wrong in itself says nothing more', async () => {
  const mistakes = await mistakesOf(
    { 'listener.imap.protocol': 'imapp', 'listener.imap.proxy_protocol': 'yes', 'routing.default_destination': '' },
  )
  assert.deepEqual(
    mistakes.map((mistake) => mistake.split(':')[0]),
    ['listener.imap.protocol', 'listener.imap.proxy_protocol', 'routing.default_destination'],
  )
})

test('what is only doubtful is a warning', async () => {
  const doubtful: readonly (readonly [Changes, RegExp])[] = [
    [{ 'destination.stalwart.protocol': { pop3: LEG } }, /^destination\.stalwart has no leg for imap/],
    [{ 'destination.empty': { host: 'h' } }, /^destination\.empty has no protocol leg/],
    [{ 'destination.legacy.tls_allow_invalid_certs': true }, /^destination\.legacy accepts any certificate/],
    [
      {
        'destination.legacy.tls_allow_invalid_certs': true,
        'destination.legacy.tls_pinned_cert_sha256': '0'.repeat(64),
      },
      /means nothing beside a pinned certificate/,
    ],
    [{ 'destination.legacy.source_ips': ['127.0.0.2', '192.0.2.9'] }, /^destination\.legacy\.source_ips: 192\.0\.2\.9 is no address of this host/],
    [{ 'listener.imap.tls': 'implicit' }, /self-signed certificate is made at start/],
    [{ 'listener.imap.forwarded': 'trust' }, /^listener\.imap\.forwarded means nothing/],
    [
      { mapping: { source: 'sql', sql: { url: 'sqlite://a', query: 'q', upsert_query: 'u' } } },
      /mappings cannot be written/,
    ],
    [{ ...HTTP, http: {} }, /no \[\[http\.route\]\]/],
    [
      { 'server.hostname': 'legacy.example.com', 'listener.imap.bind': ['0.0.0.0:143'] },
      /does not lead back to listener\.imap/,
    ],
  ]
  for (const [changes, expected] of doubtful) {
    const loaded = await checkChanged(changes)
    assert.ok(loaded.ok, JSON.stringify(changes))
    assert.ok(loaded.warnings.some((warning) => expected.test(warning)), `${expected} in ${loaded.warnings.join('\n')}`)
  }
  const quiet = await checkChanged({})
  assert.deepEqual(quiet.ok && quiet.warnings, [])
})
