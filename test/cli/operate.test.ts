import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { SignalboxError } from '../../src/errors.ts'
import { CommandLine, finished } from '../support/command-line.ts'
import type { Ran } from '../support/command-line.ts'
import { TestManagement, testCertificate } from '../support/management.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

const run = promisify(execFile)

describe('the commands for operators', { timeout: 300_000 }, () => {
  let api: TestManagement
  let directory: Temporary
  let cli: CommandLine
  /** How the instance is named on the command line. */
  let there: string[]

  before(async () => {
    api = await TestManagement.start({ lockoutThreshold: 0 })
    directory = await makeTemporary('cli')
    const { cert } = await testCertificate()
    await writeFile(join(directory.path, 'token'), `${api.token}\n`)
    await writeFile(join(directory.path, 'wrong'), 'wrong\n')
    await writeFile(join(directory.path, 'ca.pem'), cert)
    cli = await CommandLine.make(directory.path, undefined)
    there = ['--url', `https://localhost:${api.port}`, '--token-file', 'token', '--ca', 'ca.pem']
  })
  after(async () => {
    await api.stop()
    await directory.remove()
  })
  beforeEach(() => {
    api.operations.mappings.clear()
    api.operations.failure = undefined
    api.operations.gate = Promise.resolve()
    api.operations.confirmation = { workers: 2, workersExpected: 2, peers: [], bus: 'none' }
  })

  const ask = (...args: string[]): Promise<Ran> => cli.run(...args, ...there)

  it('end with 0 and the result alone on standard output', async () => {
    assert.deepEqual(await ask('mapping', 'put', 'Ann', 'new'), { code: 0, out: 'ann\tnew\n', err: '' })
    const { code, out } = await ask('mapping', 'get', 'ann', '--json')
    assert.deepEqual([code, JSON.parse(out).destination], [0, 'new'])
  })

  it('end with 1 and a sentence when the API refuses or nobody answers', async () => {
    assert.deepEqual(await ask('mapping', 'put', 'ann', 'moon'), { code: 1, out: '', err: 'signalbox: destination: no destination "moon" is declared\n' })
    api.operations.failure = new SignalboxError('SOURCE_UNAVAILABLE', 'the database is away')
    assert.deepEqual(await ask('mapping', 'summary'), { code: 1, out: '', err: 'signalbox: the database is away\n' })
    const wrong = await cli.run('fleet', ...there.with(3, 'wrong'))
    assert.deepEqual([wrong.code, wrong.out], [1, ''])
    assert.match(wrong.err, /the bearer token is not valid/)
    const nobody = await cli.run('fleet', ...there.with(1, 'https://localhost:1'))
    assert.equal(nobody.code, 1)
    assert.match(nobody.err, /^signalbox: nobody answers at https:\/\/localhost:1 .*: is the instance running\?\n$/)
  })

  it('end with 2 on wrong usage and on anything wrong with what they are configured with', async () => {
    const wrong: readonly (readonly [string[], RegExp])[] = [
      [['mapping'], /Usage: signalbox mapping/],
      [['mapping', 'put', 'ann'], /missing required argument 'destination'/],
      [['mapping', 'list', '--limit', '0', ...there], /whole number from 1/],
      [['mapping', 'import', 'none.tsv', ...there], /none\.tsv cannot be read/],
      [['mapping', 'import', 'token', '--mode', 'both', ...there], /Allowed choices are merge, replace/],
      [['cutover', '--to', 'new', ...there], /no account/],
      [['fleet', '--colour'], /unknown option '--colour'/],
      [['fleet'], /where is the instance\?/],
      [['fleet', '--config', 'none.toml'], /none\.toml cannot be read/],
      [['fleet', '--url', 'http://localhost', '--token-file', 'token'], /no https URL/],
      [['fleet', '--url', 'https://localhost/x', '--token-file', 'token'], /nothing more/],
      [['fleet', '--url', 'https://localhost', '--token-file', 'none'], /--token-file: none cannot be read/],
      [['fleet', '--url', 'https://localhost', '--token-file', 'token', '--ca', 'none'], /--ca: none cannot be read/],
      [['cutover', '--to', 'new', '--hold', '121', 'ann', ...there], /at most 120/],
      [['destinations', 'state', 'old', 'sideways', ...there], /Allowed choices are up, drain, down/],
      [['sessions', 'drain', 'old', '--over', 'zz', ...there], /a duration such as 30s/],
      [['nothing'], /nothing cannot be read.*\n.*signalbox --help/],
      [['completion', 'csh'], /Allowed choices are bash, zsh, fish/],
    ]
    for (const [args, words] of wrong) {
      const { code, err } = await cli.run(...args)
      assert.equal(code, 2, `${args.join(' ')}: ${err}`)
      assert.match(err, words)
    }
  })

  it('send no token to a server whose certificate is not trusted', async () => {
    const stranger = there.slice(0, 4)
    const failures = api.lines.length
    const { code, err } = await cli.run('fleet', ...stranger)
    assert.equal(code, 1)
    assert.match(err, /^signalbox: the certificate at https:\/\/localhost:\d+ is not trusted/)
    assert.equal(api.lines.length, failures, 'no request came')
    assert.equal((await cli.run('fleet', ...stranger, '--insecure')).code, 0)
  })

  it('name the peers that have not confirmed, and succeed', async () => {
    api.operations.confirmation = { workers: 2, workersExpected: 2, peers: [{ instance: 'mx2', acknowledged: false }], bus: 'up' }
    assert.deepEqual(await ask('mapping', 'put', 'ann', 'new'), { code: 0, out: 'ann\tnew\n', err: 'signalbox: in force here, not confirmed by mx2\n' })
    api.operations.confirmation = { workers: 1, workersExpected: 2, peers: [], bus: 'none' }
    assert.deepEqual(await ask('mapping', 'put', 'ann', 'new'), { code: 1, out: '', err: 'signalbox: committed, not confirmed\n' })
  })

  it('list page by page, as much as was asked for, and say that there is more', async () => {
    for (let i = 0; i < 2_500; i++) api.operations.mappings.set(`u${String(i).padStart(4, '0')}`, 'new')
    const all = await ask('mapping', 'list', '--limit', '3000')
    assert.deepEqual([all.code, all.out.split('\n').length, all.err], [0, 2_501, ''])
    const some = await ask('mapping', 'list', '--limit', '1001', '--json')
    assert.equal(some.out.split('\n').length, 1_002)
    assert.match(some.err, /there are more than 1001/)
  })

  it('import standard input as well as a file, name wrong lines, and leave out nothing', async () => {
    const child = cli.start('mapping', 'import', '-', ...there)
    const ran = finished(child)
    for (let i = 0; i < 50; i++) child.stdin?.write(`user${i}\tnew\n`)
    child.stdin?.end()
    assert.deepEqual(await ran, { code: 0, out: 'imported: added 50, changed 0, removed 0, unchanged 0\n', err: '' })
    await writeFile(join(directory.path, 'bad.tsv'), 'a\tnew\nb\n'.repeat(25))
    const bad = await ask('mapping', 'import', 'bad.tsv')
    assert.equal(bad.code, 1)
    assert.match(bad.err, /^signalbox: 25 lines are wrong, nothing has changed\n {2}line 2: fewer than two fields\n[^]* {2}and 5 more\n$/)
    assert.equal(api.operations.mappings.size, 50)
    await writeFile(join(directory.path, 'big.tsv'), 'someone@example.org\told\n'.repeat(200_000))
    assert.equal((await ask('mapping', 'import', 'big.tsv', '--dry-run')).out, 'would be imported: added 1, changed 0, removed 0, unchanged 0\n')
  })

  it('change nothing when an import is interrupted while it is being sent', async () => {
    const child = cli.start('mapping', 'import', '-', ...there)
    const ran = finished(child)
    const timers = api.clock.pending
    child.stdin?.write('a\tnew\n')
    while (api.clock.pending <= timers) await new Promise((resolve) => setImmediate(resolve))
    child.kill('SIGINT')
    const { code, err } = await ran
    assert.equal(code, 1)
    assert.match(err, /interrupted while it was being sent: nothing has changed/)
    assert.equal(api.operations.mappings.size, 0)
  })

  it('move one account and tell of each step', async () => {
    const { code, out, err } = await ask('cutover', '--to', 'new', 'Ann')
    assert.deepEqual([code, err], [0, ''])
    assert.match(out, /^ann: moved from the default to new, 0 sessions ended, 2 ms\nSTEP .*\nkick +ok +1\n$/)
    assert.equal((await ask('cutover', '--to', 'moon', 'ann')).code, 1)
  })

  it('move a list in batches, name what failed, and write down what was not moved', async () => {
    const names = Array.from({ length: 2_300 }, (_, i) => `User${i}`)
    await writeFile(join(directory.path, 'list'), `# all\n\n${names.map((name) => `${name}\told\r\n`).join('')}user5\n%bad\n`)
    const { code, out, err } = await ask('cutover', '--to', 'new', '--from', 'list')
    assert.deepEqual([code, out], [1, ''])
    assert.match(err, /^signalbox: 2300 lines of list name old; all accounts go to new\n%bad: .*\n2301 of 2302 moved to new, 1 failed\nNot moved: 1, listed in list\.rest\. To go on:\n {2}signalbox cutover --to new --from list\.rest\n$/)
    assert.equal(await readFile(join(directory.path, 'list.rest'), 'utf8'), '%bad\n')
    assert.equal(api.operations.mappings.size, 2_300)
    const json = await ask('cutover', '--to', 'new', '--json', 'ann', 'bob')
    assert.deepEqual(new Set(json.out.trimEnd().split('\n').map((line) => JSON.parse(line).identifier)), new Set(['ann', 'bob']))
    assert.equal(json.code, 0)
  })

  it('move nothing when a line of a list can only be a mistake, and name the line', async () => {
    const before = api.operations.mappings.size
    const lists: readonly (readonly [string | Buffer, RegExp])[] = [
      [Buffer.from('ok1\nm\xfcller@x\n', 'latin1'), /^signalbox: list2 cannot be read: it is not UTF-8\n$/],
      ['ok1\n\nbad id\n', /^signalbox: list2, line 3: neither an account nor a mapping of one\n$/],
      ['ok1 new old\n', /^signalbox: list2, line 1: neither/],
      ['# nobody\n', /^signalbox: list2 names no account\n$/],
    ]
    for (const [text, words] of lists) {
      await writeFile(join(directory.path, 'list2'), text)
      const { code, err } = await ask('cutover', '--to', 'new', '--from', 'list2')
      assert.equal(code, 2)
      assert.match(err, words)
    }
    assert.equal(api.operations.mappings.size, before)
  })

  it('write down what is left as it stood in the list, keep it when nothing was tried, and forget it when all is done', async () => {
    const rest = join(directory.path, 'list3.rest')
    const long = 'y'.repeat(600)
    await writeFile(join(directory.path, 'list3'), `\ufeffok1\n${long}\nOK2\nok2\n`)
    assert.equal((await ask('cutover', '--to', 'new', '--from', 'list3')).code, 1)
    assert.equal(await readFile(rest, 'utf8'), `${long}\n`)
    const refused = await ask('cutover', '--to', 'moon', '--from', 'list3')
    assert.equal(refused.code, 1)
    assert.match(refused.err, /^signalbox: .*moon.*\n0 of 4 moved to moon\n$/)
    assert.equal(await readFile(rest, 'utf8'), `${long}\n`)
    // The rest of a rest is the same file.
    assert.match((await ask('cutover', '--to', 'new', '--from', 'list3.rest')).err, /--from list3\.rest\n$/)
    await writeFile(join(directory.path, 'list3'), 'ok1\nok2\n')
    assert.equal((await ask('cutover', '--to', 'new', '--from', 'list3')).code, 0)
    await assert.rejects(readFile(rest), { code: 'ENOENT' })
  })

  it('stop a list at Ctrl-C, and go on from there', async () => {
    const names = Array.from({ length: 1_500 }, (_, i) => `user${i}`)
    await writeFile(join(directory.path, 'long'), names.map((name) => `${name}\n`).join(''))
    const stuck = Promise.withResolvers<void>()
    // The first batch goes through; then it stands still.
    const { mappings } = api.operations
    const child = cli.start('cutover', '--to', 'new', '--from', 'long', ...there)
    const ran = finished(child)
    while (mappings.size < 1_000) {
      await new Promise((resolve) => setImmediate(resolve))
      if (mappings.size >= 900) api.operations.gate = stuck.promise
    }
    child.kill('SIGINT')
    const { code, err } = await ran
    stuck.resolve()
    assert.equal(code, 1)
    assert.match(err, /^\d+ of 1500 moved to new\nsignalbox: interrupted\nNot moved: \d+, listed in long\.rest\. To go on:\n {2}signalbox cutover --to new --from long\.rest\n$/)
    const left = (await readFile(join(directory.path, 'long.rest'), 'utf8')).trimEnd().split('\n')
    assert.ok(left.length >= 500 && names.slice(1_000).every((name) => left.includes(name)), String(left.length))
    api.operations.gate = Promise.resolve()
    const again = await ask('cutover', '--to', 'new', '--from', 'long.rest')
    assert.deepEqual([again.code, again.err], [0, `${left.length} of ${left.length} moved to new\n`])
    assert.deepEqual([...new Set(names.map((name) => mappings.get(name)))], ['new'])
  })

  it('export to a file that is there only once it is whole', async () => {
    api.operations.mappings.set('a', 'new')
    assert.equal((await ask('mapping', 'export', '--output', 'out.tsv')).code, 0)
    assert.equal(await readFile(join(directory.path, 'out.tsv'), 'utf8'), 'a\tnew\n')
    const { list } = api.operations.bulk
    Object.assign(api.operations.bulk, {
      async *list() {
        for (let i = 0; i < 10_000; i++) yield { identifier: `user${i}`, destination: 'old' }
        throw new SignalboxError('SOURCE_UNAVAILABLE', 'the database went away')
      },
    })
    try {
      const broken = await ask('mapping', 'export', '--output', 'broken.tsv')
      assert.equal(broken.code, 1)
      assert.match(broken.err, /the export is not whole/)
      await assert.rejects(readFile(join(directory.path, 'broken.tsv')), /ENOENT/)
      await assert.rejects(readFile(join(directory.path, 'broken.tsv.partial')), /ENOENT/)
      assert.equal((await ask('mapping', 'export')).code, 1)
    } finally {
      Object.assign(api.operations.bulk, { list })
    }
  })

  it('end quietly when nobody reads on', async () => {
    for (let i = 0; i < 50_000; i++) api.operations.mappings.set(`u${i}`, 'new')
    const child = cli.start('mapping', 'list', '--limit', '50000', ...there)
    let err = ''
    child.stderr?.on('data', (chunk: Buffer) => (err += chunk.toString()))
    if (child.stdout !== null) await once(child.stdout, 'data')
    child.stdout?.destroy()
    const [code] = await once(child, 'exit')
    assert.deepEqual([code, err], [1, ''])
  })

  it('draw everything once where nobody watches', async () => {
    const { code, out } = await ask('top')
    assert.equal(code, 0)
    assert.match(out, /^signalbox 0\.0\.0 {2}one {2}up 0m 12s {2}workers 2 {2}bus up {2}watch on\nconnections 5 /)
    assert.match(out, /\nDESTINATION .*\nold .*\nnew .*\n/)
    assert.match(out, /\nINSTANCE .*\none .*\ntwo .*\nthree .*\n/)
    assert.ok(!out.includes('\u001b'))
  })

  it('complete in bash what is there, at each place', async () => {
    const { out } = await cli.run('completion', 'bash')
    const complete = async (...words: string[]): Promise<string[]> => {
      const script = `${out}\nCOMP_WORDS=(signalbox ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _signalbox; printf '%s\\n' "\${COMPREPLY[@]}"`
      return (await run('bash', ['-c', script])).stdout.split('\n').filter((word) => word !== '')
    }
    assert.deepEqual(await complete('ma'), ['mapping'])
    assert.deepEqual(await complete('mapping', 'ex'), ['export'])
    assert.deepEqual(await complete('mapping', 'import', '--m'), ['--mode'])
    assert.deepEqual(await complete('fleet', '--url', 'https://x', 'fo'), ['forget'])
    assert.deepEqual(await complete('cutover', '--fr'), ['--from'])
    assert.deepEqual(await complete('mapping', 'import', '--mode', ''), ['merge', 'replace'])
    assert.deepEqual((await complete('destinations', 'state', 'old', '')).slice(0, 3), ['up', 'drain', 'down'])
    assert.ok((await complete('cutover', '--from', 'pack')).includes('package.json'))
    assert.ok((await complete('mapping', 'import', 'pack')).includes('package.json'))
    assert.deepEqual(await complete('cutover', '--to', ''), [])
    for (const shell of ['zsh', 'fish']) assert.match((await cli.run('completion', shell)).out, /cutover/)
  })
})
