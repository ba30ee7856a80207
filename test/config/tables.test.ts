import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Report } from '../../src/config/mistake.ts'
import { mistakeText } from '../../src/config/mistake.ts'
import { TABLES } from '../../src/config/schema.ts'
import { Tables } from '../../src/config/tables.ts'
import { parseToml } from '../../src/config/toml.ts'

function read(text: string): { readonly tables: Tables; readonly mistakes: readonly string[] } {
  const document = parseToml(text)
  assert.ok(document.ok)
  const report: Report = { mistakes: [], warnings: [] }
  const tables = new Tables(TABLES, document.table, report)
  return { tables, mistakes: report.mistakes.map(mistakeText) }
}

test('defaults are there without their tables', () => {
  const { tables, mistakes } = read('')
  assert.deepEqual(mistakes, [])
  assert.equal(tables.one('server').duration('bridge_idle'), 1_800_000)
  assert.equal(tables.one('limits').size('preauth_buffer'), 65_536)
  assert.equal(tables.one('admin').present, false)
})

test('an unknown key is a mistake with the nearest known one', () => {
  assert.deepEqual(read('[server]\nthread = 1').mistakes, ['server.thread: unknown key; did you mean "threads"?'])
  assert.deepEqual(read('[destinations.a]').mistakes, ['destinations: unknown key; did you mean "destination"?'])
})

test('a key in the wrong table is sent to the right one', () => {
  assert.deepEqual(
    read('[server]\nnormalize = "none"').mistakes,
    ['server.normalize: unknown key; did you mean "mapping.normalize"?'],
  )
})

test('where nothing is near the known keys are listed', () => {
  assert.deepEqual(read('[oauth]\nzzzzz = 1').mistakes, ['oauth.zzzzz: unknown key; allowed: jwt_username_claim'])
})

test('an unknown protocol of a leg is a mistake with the nearest protocol', () => {
  const [mistake] = read('[destination.a]\nhost = "h"\n[destination.a.protocol.imaps]\nport = 1\ntls = "plain"').mistakes
  assert.match(mistake ?? '', /^destination\.a\.protocol\.imaps: unknown name; .*did you mean "imap"\?$/)
})

test('names of prototype properties are names like any other', () => {
  for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'prototype', 'default']) {
    const { tables, mistakes } = read(
      `[destination.${name}]\nhost = "h"\n[destination.${name}.protocol.imap]\nport = 1\ntls = "plain"`,
    )
    assert.deepEqual(mistakes, [])
    assert.deepEqual(tables.all('destination.<name>').map((section) => section.name), [name])
    assert.equal(tables.all('destination.<name>.protocol.<protocol>')[0]?.number('port'), 1)
  }
  assert.equal(Reflect.get({}, 'host'), undefined)
})

test('prototype properties as keys are unknown keys', () => {
  for (const key of ['__proto__', 'constructor', 'toString']) {
    assert.match(read(`[server]\n${key} = 1`).mistakes.join(), new RegExp(`^server\\.${key}: unknown key`))
    assert.match(read(`${key} = 1`).mistakes.join(), new RegExp(`^${key}: unknown key`))
    assert.match(
      read(`[destination.a]\nhost = "h"\n[destination.a.protocol.${key}]\nport = 1`).mistakes.join(),
      /unknown name/,
    )
  }
})

test('tables where values belong, and values where tables belong, are mistakes', () => {
  assert.match(read('[server.threads]\nx = 1').mistakes.join(), /^server\.threads: .*found a table/)
  assert.match(read('server = 3').mistakes.join(), /^server: must be a table; found 3$/)
  assert.match(read('[[server]]').mistakes.join(), /^server: must be a table; found a list of 1$/)
  assert.match(read('listener = "x"').mistakes.join(), /^listener: must be a table/)
  assert.match(read('[listener]\na = 1').mistakes.join(), /^listener\.a: must be a table; found 1$/)
  assert.match(
    read('[http]\nroute = {}').mistakes.join(),
    /^http\.route: must be an array of tables, \[\[http\.route\]\]; found a table$/,
  )
  assert.match(read('[server]\nhostname = 2020-01-01').mistakes.join(), /^server\.hostname: .*found a date/)
})

test('a wrong value reads as unset, its neighbours as they are', () => {
  const { tables, mistakes } = read('[server]\nthreads = "4"\nproxy_ttl = 3')
  assert.equal(mistakes.length, 1)
  assert.equal(tables.one('server').number('threads'), undefined)
  assert.equal(tables.one('server').number('proxy_ttl'), 3)
  assert.equal(tables.one('server').isSet('threads'), true)
})

test('all mistakes of a table are found', () => {
  const { mistakes } = read(
    '[server]\nthreads = "4"\nhostname = ""\nproxy_ttl = 0\nlog_level = "loud"\nbridge_idle = 5\nfoo = 1',
  )
  assert.equal(mistakes.length, 6)
})

test('required keys of a table that is there must be set', () => {
  const { mistakes } = read('[listener.a]\n[mapping.sql]')
  const paths = mistakes.map((mistake) => mistake.split(':')[0])
  assert.deepEqual(
    paths,
    [
      'listener.a.protocol',
      'listener.a.bind',
      'listener.a.tls',
      'mapping.source',
      'mapping.sql.url',
      'mapping.sql.query',
    ],
  )
})

test('values of secret keys are in no mistake', () => {
  const { mistakes } = read(
    '[admin]\nbind = "127.0.0.1:1"\nbearer_token = "very secret"\n[mapping]\nsource = "redis"\n[mapping.redis]\nurl = "http://u:very secret@h"\n[cluster]\nsecret = "v-secret"',
  )
  assert.equal(mistakes.length, 3)
  assert.doesNotMatch(mistakes.join('\n'), /secret(?!:)/)
})

test('names with spaces, quotes or control characters are refused and shown escaped', () => {
  assert.deepEqual(
    read('[listener."a\\nb"]').mistakes,
    ['listener."a\\nb": not a name; allowed: 1 to 128 characters without white space, quotes and control characters'],
  )
  assert.match(read('[destination."\\u202Ex"]\nhost = "h"').mistakes.join(), /^destination\."\\u202ex": not a name/)
  assert.match(read(`[listener.${'a'.repeat(129)}]`).mistakes.join(), /not a name/)
  assert.match(read('[listener.""]').mistakes.join(), /not a name/)
})

test('routes are numbered from 0', () => {
  const { tables } = read(
    '[[http.route]]\nmatch = "/a"\ndestination = "x"\n[[http.route]]\nmatch = "/b"\nextract = { from = "authorization" }',
  )
  assert.deepEqual(tables.all('http.route[]').map((route) => route.path()), ['http.route[0]', 'http.route[1]'])
  assert.deepEqual(tables.all('http.route[].extract').map((extract) => extract.present), [false, true])
})

test('the fields of ID keep the order of the file', () => {
  const { tables } = read('[capabilities.imap]\nid = { vendor = "v", name = "n", "a.b" = "c" }')
  assert.deepEqual(tables.one('capabilities.imap').pairs('id'), [['vendor', 'v'], ['name', 'n'], ['a.b', 'c']])
})

test('convict reads TOML files by our parser', async () => {
  const { default: convict } = await import('convict')
  const { makeTemporary } = await import('../support/temporary.ts')
  const { writeFile } = await import('node:fs/promises')
  await using directory = await makeTemporary('toml')
  await writeFile(`${directory.path}/a.toml`, 'threads = 7')
  const schema = { threads: { ...TABLES.find((table) => table.path === 'server')?.schema['threads'], default: 0 } }
  assert.equal(
    convict<{ threads: number }>(schema, { env: {}, args: [] }).loadFile(`${directory.path}/a.toml`).get('threads'),
    7,
  )
})
