import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { check } from '../../src/cli/check.ts'
import { changed, type Changes } from '../support/configuration.ts'
import { makeTemporary } from '../support/temporary.ts'

interface Run {
  readonly status: number
  readonly out: string
  readonly err: string
  readonly path: string
  readonly mappingPath: string
}

/** Checks the sound document with these changes; its mapping file holds `mappings`, or isn't there. */
async function run(changes: Changes | string, env: Record<string, string> = {}, mappings: string | undefined = ''): Promise<Run> {
  await using directory = await makeTemporary('check')
  const path = `${directory.path}/a.toml`
  const mappingPath = `${directory.path}/m.tsv`
  await writeFile(path, typeof changes === 'string' ? changes : changed({ 'mapping.file.path': mappingPath, ...changes }))
  if (mappings !== undefined) await writeFile(mappingPath, mappings)
  let [out, err] = ['', '']
  const status = await check(path, env, (piece) => (out += piece), (piece) => (err += piece))
  return { status, out, err, path, mappingPath }
}

const ADMIN: Changes = {
  admin: { bind: '127.0.0.1:9443', bearer_token: 'geheim'.repeat(6) },
  'log.redaction_key': 'geheim'.repeat(6),
}

test('a sound file is summed up and exits 0', async () => {
  const { status, out, err, path, mappingPath } = await run({ 'server.threads': 2, 'mapping.normalize': 'lowercase' })
  assert.equal(status, 0)
  assert.equal(err, '')
  assert.equal(
    out,
    `${path}: ok
  workers: 2
  listener imap: imap on 127.0.0.1:1143, TLS plain
  destination legacy (default): legacy.example.com, imap 143 starttls
  destination stalwart: stalwart.example.com, imap 993 implicit
  mappings: file ${mappingPath}, lowercase
  management: none
`,
  )
})

test('warnings are told and change nothing about the status', async () => {
  const { status, out, err } = await run(ADMIN)
  assert.equal(status, 0)
  assert.match(err, /^warning: There is no \[tls\.certificate\.<name>\]/)
  assert.match(out, /management: 127\.0\.0\.1:9443/)
  assert.doesNotMatch(out + err, /geheim/)
})

test('every mistake is a line, and the status is 2', async () => {
  const { status, out, err, path } = await run({
    'server.thread': 1,
    'listener.imap.tls': 'ssl',
    'routing.default_destination': 'legcy',
  })
  assert.equal(status, 2)
  assert.equal(out, '')
  const lines = err.trimEnd().split('\n')
  assert.equal(lines[0], `${path}: 3 mistakes`)
  assert.deepEqual(
    lines.slice(1).map((line) => line.split(':')[0]),
    ['  listener.imap.tls', '  server.thread', '  routing.default_destination'],
  )
})

test('one mistake is one mistake', async () => {
  const { status, err, path } = await run('[server')
  assert.equal(status, 2)
  assert.match(err, /: 1 mistake\n  line 1, column \d+: not TOML: /)
  assert.ok(err.startsWith(path))
})

test('a file that does not exist is a mistake', async () => {
  let err = ''
  assert.equal(await check('/nonexistent/a.toml', {}, () => assert.fail(), (piece) => (err += piece)), 2)
  assert.match(err, /\/nonexistent\/a\.toml cannot be read: ENOENT/)
})

test('what the start would find in stores and accounts of the host is found here, all at once', async () => {
  const { status, out, err, path } = await run({
    mapping: { source: 'sql', sql: { url: 'mysql://u:geheim@h/db', query: 'q', listen: 'routes', tls_ca: '/nonexistent/ca.pem' } },
    cluster: { bus: 'redis://u:geheim@h:0', bus_down_ttl: '1ms' },
    'server.user': 'nobody-of-the-kind',
    'server.group': 'none-of-the-kind',
  })
  assert.equal(status, 2)
  assert.equal(out, '')
  const [head, ...lines] = err.trimEnd().split('\n')
  assert.equal(head, `${path}: 6 mistakes`)
  assert.deepEqual(
    lines.map((line) => line.trim().replace(/: .*/, '')).sort(),
    ['cluster.bus', 'mapping.sql.listen', 'mapping.sql.tls_ca', 'mapping.sql.tls_ca', 'server.group', 'server.user'],
  )
  assert.doesNotMatch(err, /geheim/)
})

test('a mapping file that would be refused is a mistake, line by line, and its warnings are told', async () => {
  const { status, out, err, path, mappingPath } = await run({}, {}, 'a@x.org legacy\nb@x.org\n# note\nc@x.org legcy\n')
  assert.equal(status, 2)
  assert.equal(out, '')
  assert.equal(
    err,
    `${path}: the mapping file is refused
  ${mappingPath}, line 2: fewer than two fields
  ${mappingPath}, line 4: destination "legcy" is not declared
`,
  )
  const twice = await run({}, {}, 'a@x.org legacy\na@x.org stalwart x\n')
  assert.equal(twice.status, 0)
  assert.match(twice.err, /^warning: .*m\.tsv: further fields on 1 line were ignored$/m)
  assert.match(twice.err, /^warning: .*m\.tsv: identifiers given more than once: 1 line/m)
})

test('a mapping file that is not there is a mistake', async () => {
  await using directory = await makeTemporary('check')
  const { status, err } = await run({ 'mapping.file.path': `${directory.path}/missing.tsv` })
  assert.equal(status, 2)
  assert.match(err, /mapping\.file\.path: .*missing\.tsv: ENOENT/)
})
