import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatOf } from '../../src/config/format.ts'
import { TABLES } from '../../src/config/schema.ts'

const PIN = '0123456789abcdef'.repeat(4)

/** Per key that has a format of its own: values that are right, and values that are not. */
const CASES: Readonly<Record<string, { readonly good: readonly unknown[]; readonly bad: readonly unknown[] }>> = {
  'server.threads': { good: [0, 1, 1024], bad: [-1, 1025, 1.5, '4', true, NaN, Infinity, null] },
  'server.hostname': { good: ['mail.example.com', '192.0.2.1', '::1'], bad: ['', 'a b', 'mail:993', 5, ['a']] },
  'server.bridge_idle': { good: ['1s', '24d'], bad: ['0s', '25d', '30', 30, '', '1.5s'] },
  'server.log_level': { good: ['trace', 'error'], bad: ['INFO', 'warning', '', 1] },
  'server.user': { good: ['mail'], bad: ['', 'a\nb', 7] },
  'mapping.positive_ttl': { good: ['0s', '30d', '3650d'], bad: ['3651d', '10'] },
  'tls.certificate.<name>.cert': { good: ['a.pem'], bad: ['', 'a\0b', 3] },
  'tls.certificate.<name>.subjects': {
    good: [['mail.example.com', '*.example.com', '*']],
    bad: [[], 'mail.example.com', ['a b'], ['*.'], ['a', 'a'], [1]],
  },
  'tls.certificate.<name>.default': { good: [true, false], bad: ['true', 1, 0] },
  'tls.protocols.min_version': { good: ['1.2', '1.3'], bad: [1.2, '1.1', 'TLSv1.2'] },
  'tls.protocols.disable_cipher_suites': {
    good: [
      [],
      ['TLS13_AES_256_GCM_SHA384'],
      ['TLS_AES_256_GCM_SHA384'],
      ['ECDHE-RSA-AES128-GCM-SHA256', 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384'],
    ],
    bad: [['TLS_NULL'], ['RC4-MD5'], 'TLS_AES_256_GCM_SHA384', [1]],
  },
  'listener.<name>.protocol': { good: ['imap', 'http'], bad: ['imaps', 'IMAP', ''] },
  'listener.<name>.bind': { good: [['1.2.3.4:993', '[::]:993']], bad: [[], '1.2.3.4:993', ['localhost:1'], [993]] },
  'listener.<name>.proxy_trusted': { good: [[], ['10.0.0.0/8']], bad: [['10.0.0.1'], '10.0.0.0/8'] },
  'listener.<name>.max_connections': { good: [1], bad: [0, '8192'] },
  'destination.<name>.host': { good: ['a.example', '10.0.0.1', '::1'], bad: ['a.example:143', '[::1]', 'imap://a'] },
  'destination.<name>.tls_server_name': { good: ['a.example'], bad: ['10.0.0.1', '*.example'] },
  'destination.<name>.tls_pinned_cert_sha256': {
    good: [PIN, PIN.toUpperCase(), (PIN.match(/../g) ?? []).join(':')],
    bad: [PIN.slice(1), `${PIN}0`, `${PIN.slice(1)}g`, ''],
  },
  'destination.<name>.source_ips': {
    good: [[], ['10.0.0.1', '::1']],
    bad: [['a.example'], ['10.0.0.1', '10.0.0.1'], ['10.0.0.0/8']],
  },
  'destination.<name>.forwarding': { good: ['proxy', 'xclient', 'none'], bad: ['PROXY', true] },
  'destination.<name>.protocol.<protocol>.port': { good: [1, 65_535], bad: [0, 65_536, '143', 1.5] },
  'destination.<name>.protocol.<protocol>.tls': { good: ['starttls'], bad: ['ssl', true] },
  'routing.default_destination': { good: ['legacy'], bad: ['', 1] },
  'routing.master_user_separators': { good: [[], ['%', '*', '--']], bad: [['%', '%'], [''], [' '], ['"'], '%'] },
  'mapping.redis.url': {
    good: [
      'redis://h',
      'rediss://u:p@h:6380/2',
      'redis://[::1]:6379',
      'redis+sentinel://h1:26379,h2:26379/mymaster/0',
      'redis+sentinel://u:p@h1/mymaster',
      'redis+cluster://h1:6379,h2:6379',
      'rediss+cluster://h1:6379',
      'rediss+sentinel://h1,h2/mymaster',
    ],
    bad: [
      'http://h',
      'redis://',
      'h:6379',
      'redis://h/x',
      'redis+sentinel://h1:1',
      'redis+cluster://h1:6379/3',
      'redis+cluster://a:b:c',
      '',
    ],
  },
  'mapping.redis.key_prefix': { good: ['', 'route:'], bad: ['a b', 'a\n', 1] },
  'mapping.sql.url': {
    good: ['postgres://u@h/db', 'postgresql://u@h/db', 'mysql://u:p@h:33/db', 'mariadb://u@h/db?sslmode=require', 'sqlite:///var/lib/a.db', 'sqlite://a.db'],
    bad: ['postgresql://h', 'mysql://h/db', 'sqlite://', 'postgres://', 'oracle://h', 'postgres://u@h/db?sslmode=maybe', 'postgres://u:%zz@h/db'],
  },
  'mapping.sql.query': { good: ['SELECT\n1'], bad: ['', '  ', 1] },
  'mapping.sql.listen': { good: ['routes'], bad: ['a-b', '1a', 'a'.repeat(64), ''] },
  'capabilities.imap.sasl': {
    good: [['PLAIN'], ['XOAUTH2', 'LOGIN']],
    bad: [[], ['PLAIN', 'PLAIN'], ['CRAM-MD5'], ['plain']],
  },
  'capabilities.imap.banner': { good: ['hello'], bad: ['', 'a\r\nb', 'hallö', 'a'.repeat(201)] },
  'capabilities.imap.advertise': {
    good: [['IMAP4rev1', 'LITERAL-', 'RIGHTS=kx']],
    bad: [['A B'], ['A', 'A'], ['A)'], ['"A"'], ['']],
  },
  'capabilities.imap.id': {
    good: [[], [['name', 'Signalbox']]],
    bad: ['x', [['name', 1]], [['n'.repeat(31), 'a']], Array.from({ length: 31 }, (_, index) => [`f${index}`, 'a'])],
  },
  'capabilities.pop3.capa': { good: [['TOP', 'EXPIRE 30']], bad: [['A\r\nB'], [' A'], ['']] },
  'http.body_extract_cap': { good: [1, '64kb', '65536'], bad: [0, '17mb', true, '1gb'] },
  'http.route[].match': { good: ['/**'], bad: ['', '/[', 1] },
  'http.route[].extract.header': { good: ['x-account'], bad: ['x account', ''] },
  'http.route[].extract.regex': {
    good: ['user=([^&]+)', '(?P<u>.)', '(?<u>.)'],
    bad: ['', 'user=.*', '\\(x\\)', '(?:x)', 'a'.repeat(1_001)],
  },
  'admin.bind': { good: ['127.0.0.1:9443'], bad: ['9443', ['127.0.0.1:9443']] },
  'admin.tls': { good: ['implicit'], bad: ['plain', 'starttls'] },
  'admin.bearer_token': { good: ['abc'], bad: ['', 'a b', 'ä'] },
  'cluster.instance': { good: ['mx-a.example'], bad: ['', 'a b', 'a'.repeat(129)] },
  'cluster.secret': { good: ['0123456789abcdef'], bad: ['short'] },
}

function schemaOf(path: string): { readonly format: string } {
  const dot = path.lastIndexOf('.')
  const key = TABLES.find((table) => table.path === path.slice(0, dot))?.schema[path.slice(dot + 1)]
  assert.ok(key, `the schema has ${path}`)
  return key
}

for (const [path, { good, bad }] of Object.entries(CASES)) {
  test(`${path} takes what is right and gives a reason for what is not`, () => {
    const format = formatOf(schemaOf(path).format)
    assert.ok(format)
    for (const value of good) assert.equal(format.check(value), undefined, JSON.stringify(value))
    for (const value of bad) assert.notEqual(format.check(value), undefined, JSON.stringify(value))
  })
}

test('every format of the schema has a case', () => {
  const covered = new Set(Object.keys(CASES).map((path) => kind(schemaOf(path).format)))
  const lacking = TABLES.flatMap(
    (table) => Object.entries(table.schema).map(
      ([key, schema]) => ({ path: `${table.path}.${key}`, kind: kind(schema.format) }),
    ),
  )
    .filter((entry) => !covered.has(entry.kind))
  assert.deepEqual(lacking, [])
})

test('every key has a sentence that documents it, and a default or an example', () => {
  for (const table of TABLES) {
    for (const [key, schema] of Object.entries(table.schema)) {
      assert.match(schema.doc, /^\S.*[.:)]$/s, `${table.path}.${key}`)
      assert.ok(schema.default !== null || schema.example !== undefined, `${table.path}.${key}`)
    }
  }
})

/** Formats that differ in their bounds or words only are of one kind. */
function kind(allowed: string): string {
  return allowed.replace(/\d+[a-z]*/g, 'N').replace(/N or more|N to N/g, 'bounds').replace(
    /^"[^"]*"(, "[^"]*")*( or "[^"]*")?$/,
    'words',
  )
}
