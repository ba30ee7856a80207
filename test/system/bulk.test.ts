/**
 * Imports and exports by the command line against running instances, over every kind of source: what changed is in force in
 * every worker, of the peers too, and what was wrong has changed nothing.
 */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, describe, it } from 'node:test'
import { stringify } from 'smol-toml'
import { CommandLine } from '../support/command-line.ts'
import { Premises } from '../support/premises.ts'
import { skipWithout } from '../support/programs.ts'
import { RedisServer } from '../support/redis.ts'
import { SQLITE_SCHEMA, SQLITE_STATEMENTS } from '../support/sql-schemas.ts'

const MANY = 12_000
const destination = { host: '127.0.0.1', forwarding: 'none', allow_plaintext_auth: true, protocol: { imap: { port: 1, tls: 'plain' } } }

function lines(count: number, to: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => `user${String(index).padStart(6, '0')}\t${to(index)}\n`).join('')
}

interface Place extends AsyncDisposable {
  readonly premises: Premises
  readonly cli: CommandLine
}

/** A running instance with this source. */
async function open(mapping: (premises: Premises) => Record<string, unknown>, more: Record<string, Record<string, unknown>> = {}): Promise<Place> {
  const premises = await Premises.make()
  try {
    const { destination: _, ...rest } = premises.tables()
    const tables = { ...rest, ...more, mapping: { normalize: 'lowercase', ...mapping(premises) } }
    const config = stringify({ ...tables, destination: { old: destination, new: destination }, routing: { default_destination: 'old' } })
    await writeFile(premises.at('mail.toml'), config)
    await writeFile(premises.at('mappings'), '')
    await premises.start(config)
    return { premises, cli: await CommandLine.make(premises.directory, premises.at('mail.toml')), [Symbol.asyncDispose]: () => premises[Symbol.asyncDispose]() }
  } catch (error) {
    await premises[Symbol.asyncDispose]()
    throw error
  }
}

/** What every worker of the instance says of the account. */
async function asked({ cli }: Place, account: string): Promise<string> {
  const { out, err, code } = await cli.run('mapping', 'get', account)
  assert.equal(code, 0, err)
  return out.split('\t')[1] ?? ''
}

/** From nothing to a replaced whole, with mistakes on the way. */
async function story(place: Place): Promise<void> {
  const { premises, cli } = place
  const run = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await cli.run('mapping', ...args)
    assert.equal(code, 0, `${args.join(' ')}: ${err}`)
    return out
  }
  const put = (name: string, text: string): Promise<void> => writeFile(premises.at(name), text)
  const sorted = async (...args: string[]): Promise<string[]> => (await run('export', ...args)).trimEnd().split('\n').sort()

  await put('all.tsv', lines(MANY, () => 'old'))
  assert.equal(await run('import', 'all.tsv', '--dry-run', '--mode', 'merge'), `would be imported: added ${MANY}, changed 0, removed 0, unchanged 0\n`)
  assert.equal(await run('import', 'all.tsv'), `imported: added ${MANY}, changed 0, removed 0, unchanged 0\n`)
  assert.equal((await sorted()).length, MANY)
  assert.equal(await asked(place, 'USER000007'), 'old')

  const wrong = lines(MANY, (index) => (index === 11_111 ? 'moon' : 'new'))
  await put('wrong.tsv', wrong)
  const refused = await cli.run('mapping', 'import', 'wrong.tsv', '--mode', 'replace')
  assert.deepEqual(refused, { code: 1, out: '', err: 'signalbox: 1 line is wrong, nothing has changed\n  line 11112: destination "moon" is not declared\n' })
  assert.equal(await asked(place, 'user000007'), 'old')

  await put('some.tsv', '# moved\nUser000007 new\nuser000008\tnew\nother\tnew\n')
  assert.equal(await run('import', 'some.tsv'), 'imported: added 1, changed 2, removed 0, unchanged 0\n')
  assert.equal(await asked(place, 'user000007'), 'new')
  assert.deepEqual(await sorted('--destination', 'new'), ['other\tnew', 'user000007\tnew', 'user000008\tnew'])
  assert.equal(await run('list', '--prefix', 'user00000', '--destination', 'new'), 'user000007\tnew\nuser000008\tnew\n')
  assert.match(await run('summary'), new RegExp(`old +${MANY - 2} +yes\\nnew +3 +yes`))

  assert.equal(await run('import', 'some.tsv', '--mode', 'replace', '--dry-run'), `would be imported: added 0, changed 0, removed ${MANY - 2}, unchanged 3\n`)
  assert.equal(await run('import', 'some.tsv', '--mode', 'replace'), `imported: added 0, changed 0, removed ${MANY - 2}, unchanged 3\n`)
  assert.deepEqual(await sorted(), ['other\tnew', 'user000007\tnew', 'user000008\tnew'])
  await put('none.tsv', '# nothing\n')
  const empty = await cli.run('mapping', 'import', 'none.tsv', '--mode', 'replace')
  assert.equal(empty.code, 1)
  assert.match(empty.err, /holds no mapping/)
  assert.equal((await sorted()).length, 3)
}

const sqlite = (path: string): Record<string, unknown> => {
  const { query, upsertQuery, deleteQuery, listQuery } = SQLITE_STATEMENTS
  return { url: `sqlite://${path}`, query, upsert_query: upsertQuery, delete_query: deleteQuery, list_query: listQuery }
}

function makeDatabase(path: string): void {
  const database = new DatabaseSync(path)
  database.exec(SQLITE_SCHEMA)
  database.close()
}

describe('imports and exports of a running instance', { timeout: 300_000 }, () => {
  it('of a mapping file', async () => {
    await using place = await open((premises) => ({ source: 'file', file: { path: premises.at('mappings') } }))
    await story(place)
    assert.equal(await readFile(place.premises.at('mappings'), 'utf8'), 'other\tnew\nuser000007\tnew\nuser000008\tnew\n')
  })

  it('of a database', async () => {
    await using place = await open((premises) => {
      makeDatabase(premises.at('mail.db'))
      return { source: 'sql', sql: sqlite(premises.at('mail.db')) }
    })
    await story(place)
  })

  it('of a database that cannot be listed: what needs a list is refused with the reason, merging works', async () => {
    await using place = await open((premises) => {
      makeDatabase(premises.at('mail.db'))
      const { list_query: _, ...sql } = sqlite(premises.at('mail.db'))
      return { source: 'sql', sql }
    })
    const { cli, premises } = place
    await writeFile(premises.at('some.tsv'), 'ann new\n')
    for (const args of [['list'], ['summary'], ['export'], ['import', 'some.tsv', '--mode', 'replace']]) {
      const { code, out, err } = await cli.run('mapping', ...args)
      assert.deepEqual([code, out], [1, ''], args.join(' '))
      assert.match(err, /can look mappings up but not list them/)
    }
    assert.equal((await cli.run('mapping', 'import', 'some.tsv')).out, 'imported: added 1, changed 0, removed 0, unchanged 0\n')
    assert.equal(await asked(place, 'ann'), 'new')
  })

  describe('over Redis', { skip: skipWithout('redis-server') }, () => {
    let server: RedisServer
    before(async () => {
      server = await RedisServer.start()
    })
    after(() => server[Symbol.asyncDispose]())

    it('of one instance', async () => {
      await using place = await open(() => ({ source: 'redis', redis: { url: server.url, key_prefix: 'one:' } }))
      await story(place)
    })

    it('of two: what one imports is in force at the other, by the bus alone', async () => {
      const mapping = () => ({ source: 'redis', redis: { url: server.url, key_prefix: 'two:', watch: false }, settle: '0s' })
      await using here = await open(mapping, { cluster: { instance: 'here' } })
      await using there = await open(mapping, { cluster: { instance: 'there' } })
      await writeFile(join(here.premises.directory, 'all.tsv'), lines(MANY, () => 'new'))
      assert.equal(await asked(there, 'user000007'), 'old')
      const { code, err } = await here.cli.run('mapping', 'import', 'all.tsv')
      assert.deepEqual([code, err], [0, ''], 'both have confirmed')
      assert.equal(await asked(there, 'user000007'), 'new')
      assert.equal(await asked(there, 'user011999'), 'new')
    })
  })
})
