import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Config } from '../../src/config/config.ts'
import { checkText, loadConfig } from '../../src/config/load.ts'
import { mistakeText } from '../../src/config/mistake.ts'
import { TABLES } from '../../src/config/schema.ts'
import { testConfig } from '../support/config.ts'
import { changed, checkChanged, mistakesOf, type Changes, type CheckOptions } from '../support/configuration.ts'
import { makeTemporary } from '../support/temporary.ts'

async function configOf(changes: Changes, options: CheckOptions = {}): Promise<Config> {
  const loaded = await checkChanged(changes, options)
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.mistakes.map(mistakeText).join('\n'))
  return loaded.config
}

test('a file is loaded, its path made absolute', async () => {
  await using directory = await makeTemporary('load')
  const path = `${directory.path}/a.toml`
  await writeFile(path, changed({}))
  const loaded = await loadConfig(path, {})
  assert.ok(loaded.ok)
  assert.equal(loaded.config.path, path)
  assert.equal(loaded.config.listeners[0]?.name, 'imap')
})

test('a file that is missing, a directory, a FIFO or not UTF-8 is one mistake', async () => {
  await using directory = await makeTemporary('load')
  execFileSync('mkfifo', [`${directory.path}/fifo`])
  await writeFile(`${directory.path}/latin1`, Buffer.from([0x23, 0xe4, 0x0a]))
  const cases: Readonly<Record<string, RegExp>> = {
    nowhere: /ENOENT/,
    '.': /cannot be read/,
    fifo: /not a regular file/,
    latin1: /cannot be read/,
  }
  for (const [name, expected] of Object.entries(cases)) {
    const loaded = await loadConfig(`${directory.path}/${name}`, {})
    assert.ok(!loaded.ok)
    assert.equal(loaded.mistakes.length, 1)
    assert.match(mistakeText(loaded.mistakes[0] ?? { path: '', message: '' }), expected)
  }
})

test('a syntax mistake has its line and column, and does not quote the line', async () => {
  const loaded = await checkText('[admin]\nbearer_token = "geheim" x\n', undefined, {})
  assert.ok(!loaded.ok)
  const [mistake] = loaded.mistakes
  assert.equal(mistake?.line, 2)
  assert.equal(mistake?.column, 25)
  assert.match(mistakeText(mistake), /^line 2, column 25: not TOML: /)
  assert.doesNotMatch(mistakeText(mistake), /geheim/)
})

test('a table that stands twice and a number beyond all bounds are syntax mistakes', async () => {
  for (const text of ['[server]\n[server]\n', '[server]\nthreads = 99999999999999999999\n', `a = ${'['.repeat(100)}${']'.repeat(100)}`]) {
    const loaded = await checkText(text, undefined, {})
    assert.ok(!loaded.ok)
    assert.match(mistakeText(loaded.mistakes[0] ?? { path: '', message: '' }), /not TOML/)
  }
})

test('an empty file lacks what every file needs, all of it said at once', async () => {
  const loaded = await checkText('', undefined, {})
  assert.ok(!loaded.ok)
  assert.deepEqual(
    loaded.mistakes.map((mistake) => mistake.path),
    ['listener', 'routing.default_destination', 'mapping.source'],
  )
})

test('durations become milliseconds, sizes bytes, names data', async () => {
  const config = await configOf({
    server: { bridge_idle: '2h', shutdown_grace: '250ms', hostname: 'mail.example.com' },
    limits: { preauth_buffer: '16kb', max_preauth_memory: 1_048_576, auth_failure_delay: '3s' },
    'destination.legacy.tls_pinned_cert_sha256': 'AB:'.repeat(31) + 'CD',
    'mapping.positive_ttl': '1d',
    'capabilities.imap.id': { name: 'x', version: '1' },
    'capabilities.imap.sasl': ['XOAUTH2', 'PLAIN'],
  })
  assert.equal(config.server.bridgeIdle, 7_200_000)
  assert.equal(config.server.shutdownGrace, 250)
  assert.equal(config.limits.preauthBuffer, 16_384)
  assert.equal(config.limits.maxPreauthMemory, 1_048_576)
  assert.equal(config.mapping.positiveTtl, 86_400_000)
  assert.equal(config.destinations[0]?.pinnedCertSha256, 'ab'.repeat(31) + 'cd')
  assert.deepEqual(config.capabilities.imap.id, [['name', 'x'], ['version', '1']])
  assert.deepEqual(config.capabilities.imap.sasl, ['XOAUTH2', 'PLAIN'])
  assert.equal(config.mapping.file?.path, resolve('mappings.tsv'))
})

test('threads = 0 is replaced by the number of cores', async () => {
  assert.equal((await configOf({}, { cores: 5 })).server.threads, 5)
  assert.equal((await configOf({ 'server.threads': 2 }, { cores: 5 })).server.threads, 2)
})

test('the environment says the log level before the file does', async () => {
  const level = async (env: Record<string, string>): Promise<string> => (await configOf({ 'server.log_level': 'error' }, { env })).server.logLevel
  assert.equal(await level({}), 'error')
  assert.equal(await level({ LOG_LEVEL: 'debug' }), 'debug')
  assert.equal(await level({ LOG_LEVEL: '' }), 'error')
  assert.equal(await level({ RUST_LOG: 'TRACE' }), 'trace')
  assert.equal(await level({ RUST_LOG: 'trace', LOG_LEVEL: 'warn' }), 'warn')
  assert.equal(await level({ RUST_LOG: 'proxy=debug' }), 'error')
  assert.deepEqual(await mistakesOf({}, { env: { LOG_LEVEL: 'debgu' } }), [
    'LOG_LEVEL: not a level; found "debgu"; allowed: "trace", "debug", "info", "warn" or "error"; did you mean "debug"?',
  ])
  const ignored = await checkChanged({}, { env: { RUST_LOG: 'proxy=debug' } })
  assert.match(ignored.ok ? ignored.warnings.join() : '', /^RUST_LOG is ignored/)
})

test('forwarding is what the leg says, else the destination, else its proxy_protocol', async () => {
  const legs = {
    imap: { port: 993, tls: 'implicit' },
    smtp: { port: 25, tls: 'plain' },
    pop3: { port: 995, tls: 'implicit', forwarding: 'none' },
  }
  const of = async (changes: Changes): Promise<readonly (string | undefined)[]> => {
    const [legacy] = (await configOf({ 'destination.legacy.protocol': legs, 'destination.legacy.forwarding': undefined, ...changes })).destinations
    return [
      legacy?.forwarding,
      legacy?.legs.imap?.forwarding,
      legacy?.legs.smtp?.forwarding,
      legacy?.legs.pop3?.forwarding,
    ]
  }
  assert.deepEqual(await of({}), ['proxy', 'proxy', 'proxy', 'none'])
  assert.deepEqual(await of({ 'destination.legacy.proxy_protocol': false }), ['none', 'none', 'none', 'none'])
  assert.deepEqual(await of({ 'destination.legacy.forwarding': 'xclient' }), ['xclient', 'xclient', 'none', 'none'])
  assert.deepEqual(
    await of({ 'destination.legacy.proxy_protocol': false, 'destination.legacy.forwarding': 'proxy' }),
    ['proxy', 'proxy', 'proxy', 'none'],
  )
})

test('the bus is the source when that is Redis, and its channel does not depend on the password', async () => {
  const cluster = async (changes: Changes, env = {}): Promise<Config['cluster']> => (await configOf(changes, { env })).cluster
  const redis = (url: string, prefix = 'route:'): Changes => ({ mapping: { source: 'redis', redis: { url, key_prefix: prefix } } })
  const alone = await cluster({})
  assert.deepEqual([alone.bus, alone.busExplicit, alone.instance], [undefined, false, hostname()])
  const derived = await cluster(redis('redis://u:one@h/0'))
  assert.deepEqual([derived.bus, derived.busExplicit], ['redis://u:one@h/0', false])
  assert.equal((await cluster(redis('redis://u:two@h/0'))).channel, derived.channel)
  assert.equal((await cluster(redis('redis://u:t@w@o@h/0'))).channel, derived.channel)
  assert.notEqual((await cluster(redis('redis://u:one@h/0', 'other:'))).channel, derived.channel)
  assert.notEqual((await cluster(redis('redis://u:one@g/0'))).channel, derived.channel)
  assert.match(derived.channel, /^signalbox:[0-9a-f]{16}$/)
  const explicit = await cluster(
    { ...redis('redis://h'), cluster: { bus: 'redis://b', channel: 'c', instance: 'i', secret: 's'.repeat(16) } },
  )
  assert.deepEqual(
    [explicit.bus, explicit.busExplicit, explicit.channel, explicit.instance, explicit.secret],
    ['redis://b', true, 'c', 'i', 's'.repeat(16)],
  )
  assert.equal(
    (await cluster({ cluster: { instance: 'i' } }, { SIGNALBOX_CLUSTER_SECRET: 'from outside' })).secret,
    'from outside',
  )
})

test('on_failure is known to be set or not', async () => {
  assert.equal((await configOf({})).mapping.onFailureSet, false)
  assert.equal((await configOf({ 'mapping.on_failure': 'reject' })).mapping.onFailureSet, true)
})

test('a redaction key is made when none is set, another one each time', async () => {
  const [one, two] = [await configOf({}), await configOf({})]
  assert.match(one.log.redactionKey, /^[0-9a-f]{64}$/)
  assert.notEqual(one.log.redactionKey, two.log.redactionKey)
  assert.equal(
    (await configOf({ 'log.redaction_key': 'a key of our own choice' })).log.redactionKey,
    'a key of our own choice',
  )
})

test('a Config is plain data', async () => {
  const config = await configOf(
    {
      'http.route': [{ match: '/a', extract: { from: 'header', header: 'X-A' } }],
      'destination.legacy.protocol.http': { port: 443, tls: 'implicit' },
    },
  )
  assert.deepEqual(structuredClone(config), config)
  assert.deepEqual(
    config.http.routes,
    [{ match: '/a', destination: undefined, extract: { from: 'header', header: 'x-a' }, fallback: undefined }],
  )
})

test('names of prototype properties reach the Config as data and nothing else', async () => {
  const leg = '[destination.NAME]\nhost = "h"\nforwarding = "none"\n[destination.NAME.protocol.imap]\nport = 143\ntls = "starttls"\n'
  const text = `${leg.replaceAll('NAME', '__proto__')}${leg.replaceAll('NAME', 'constructor')}
    [listener.__proto__]\nprotocol = "imap"\nbind = ["127.0.0.1:1"]\ntls = "plain"
    [routing]\ndefault_destination = "__proto__"\n[mapping]\nsource = "file"\n[mapping.file]\npath = "m"\n`
  const loaded = await checkText(text, undefined, {})
  assert.ok(loaded.ok)
  assert.deepEqual(loaded.config.destinations.map((destination) => destination.name), ['__proto__', 'constructor'])
  assert.equal(loaded.config.destinations[0]?.legs.imap?.port, 143)
  assert.deepEqual(Object.keys(Object.prototype), [])
})

test('the defaults of the test support are those of the schema', async () => {
  const config = await configOf(
    {
      'server.threads': 1,
      'cluster.instance': 'test',
      'cluster.channel': 'signalbox:test',
      'log.redaction_key': 'a key for tests only',
    },
  )
  const support = testConfig()
  for (const part of ['server', 'tls', 'capabilities', 'oauth', 'http', 'cluster', 'limits', 'log'] as const) assert.deepEqual(
    config[part],
    support[part],
  )
  assert.deepEqual(
    config.mapping,
    { ...support.mapping, file: { path: resolve('mappings.tsv'), watch: false, shared: false } },
  )
  assert.deepEqual(Object.keys(config), Object.keys(support))
  assert.deepEqual(Object.keys(config.destinations[0] ?? {}), Object.keys(support.destinations[0] ?? {}))
  assert.deepEqual(Object.keys(config.listeners[0] ?? {}), Object.keys(support.listeners[0] ?? {}))
})

test('overrides of the test support go as deep as they like', () => {
  const config = testConfig(
    { server: { threads: 4 }, mapping: { file: { watch: true } }, listeners: [], admin: undefined },
  )
  assert.equal(config.server.threads, 4)
  assert.equal(config.server.proxyTtl, 7)
  assert.deepEqual(config.mapping.file, { path: '/nonexistent/mappings.tsv', watch: true, shared: false })
  assert.deepEqual(config.listeners, [])
  assert.equal(testConfig().server.threads, 1)
})

const KEYS = TABLES.flatMap((table) => Object.keys(table.schema))
const key = fc.constantFrom(
  ...KEYS,
  ...TABLES.flatMap((table) => table.path.split('.')),
  '__proto__',
  'constructor',
  '"a b"',
  '""',
  'x',
)
const value = fc.oneof(
  fc.constantFrom(
    '0',
    '-1',
    '1.5',
    'inf',
    'nan',
    'true',
    '"',
    '""',
    '"30s"',
    '[]',
    '[[]]',
    '["a", 1]',
    '{}',
    '{ a = { b = 1 } }',
    '2020-01-01',
    '"127.0.0.1:1"',
    '"/dev/null"',
    '[{}]',
    '["\\u0000"]',
    '1e400',
  ),
  fc.string({ maxLength: 20 }).map((text) => JSON.stringify(text)),
  fc.string({ maxLength: 8 }),
)
const line = fc.oneof(
  fc.tuple(fc.array(key, { minLength: 1, maxLength: 3 }), value).map(([path, text]) => `${path.join('.')} = ${text}`),
  fc.array(key, { minLength: 1, maxLength: 4 }).map((path) => `[${path.join('.')}]`),
  fc.array(key, { minLength: 1, maxLength: 3 }).map((path) => `[[${path.join('.')}]]`),
  fc.string({ maxLength: 10 }),
)

test('whatever is written is reported and nothing throws', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 8 }), async (lines) => {
      const loaded = await checkText(lines.join('\n'), undefined, {}, { localAddresses: [], cores: 1 })
      assert.ok(!loaded.ok && loaded.mistakes.length > 0)
      for (const mistake of loaded.mistakes) assert.doesNotMatch(mistakeText(mistake), /[\p{Cc}\u202e\u2028]/u)
    }),
    { numRuns: 300 },
  )
})

test('any value at any key of a sound document loads, or is a mistake', async () => {
  const paths = TABLES.filter((table) => !table.path.includes('<') && !table.path.includes('[]')).flatMap(
    (table) => Object.keys(table.schema).map((name) => `${table.path}.${name}`),
  )
  const anything = fc.oneof(
    fc.string(),
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.array(fc.string(), { maxLength: 3 }),
    fc.dictionary(fc.string(), fc.string(), { maxKeys: 2 }),
    fc.date({ noInvalidDate: true }),
  )
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), anything, async (path, given) => {
      const loaded = await checkChanged({ [path]: given })
      assert.ok(loaded.ok || loaded.mistakes.length > 0)
    }),
    { numRuns: 300 },
  )
})
