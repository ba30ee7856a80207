import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { generatedFiles, markdown, reference } from '../../src/config/document.ts'
import { checkText } from '../../src/config/load.ts'
import { mistakeText, type Report } from '../../src/config/mistake.ts'
import { TABLES } from '../../src/config/schema.ts'
import { Tables } from '../../src/config/tables.ts'
import { parseToml } from '../../src/config/toml.ts'
import { makeAuthority } from '../support/certificates.ts'
import { makeTemporary } from '../support/temporary.ts'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..')
const SCRIPT = join(ROOT, 'scripts/generate-docs.ts')

function generate(...flags: readonly string[]): Promise<{ readonly status: number; readonly err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [SCRIPT, ...flags], (error, _out, err) => {
      resolve({ status: error === null ? 0 : Number(error.code), err })
    })
  })
}

test('what is in the repository is what the schema says', async () => {
  for (const { path, text } of generatedFiles()) {
    assert.equal(await readFile(join(ROOT, path), 'utf8'), text, `${path}: run scripts/generate-docs.ts`)
  }
})

test('the check names the files that differ and fails', async () => {
  await using directory = await makeTemporary('docs')
  const root = `--root=${directory.path}`
  const missing = await generate('--check', root)
  assert.equal(missing.status, 1)
  assert.match(missing.err, /^docs\/configuration\.md is missing.*\nconfig\/reference\.toml is missing/)
  assert.equal((await generate(root)).status, 0)
  assert.deepEqual(await generate('--check', root), { status: 0, err: '' })
  await appendFile(join(directory.path, 'config/reference.toml'), '# by hand\n')
  const differing = await generate('--check', root)
  assert.equal(differing.status, 1)
  assert.match(differing.err, /^config\/reference\.toml differs from the schema: [^\n]*\n$/)
})

test('every key has its row in the documentation', () => {
  const text = markdown()
  for (const table of TABLES) {
    for (const key of Object.keys(table.schema)) assert.ok(text.includes(`| \`${key}\` | `), `${table.path}.${key}`)
  }
})

test('the reference parses, and with every line switched on each key and value is right', () => {
  for (const text of [reference(), reference().replaceAll(/^#(?=[a-z_[])/gm, '')]) {
    const document = parseToml(text)
    assert.ok(document.ok, document.ok ? '' : mistakeText(document.mistake))
    const report: Report = { mistakes: [], warnings: [] }
    const tables = new Tables(TABLES, document.table, report)
    assert.deepEqual(report.mistakes.map(mistakeText), [])
    if (text === reference()) continue
    for (const table of TABLES) {
      const [section] = tables.all(table.path)
      assert.deepEqual([...(section?.keysSet ?? [])], Object.keys(table.schema), table.path)
    }
  }
})

/** A file of config/ with its paths moved into a directory where the files it names exist. */
async function moved(name: string, directory: string): Promise<string> {
  const authority = await makeAuthority()
  const issued = await authority.issue({ names: ['mail.example.com'] })
  await mkdir(join(directory, 'tls'))
  await writeFile(join(directory, 'tls/fullchain.pem'), issued.cert)
  await writeFile(join(directory, 'tls/privkey.pem'), issued.key)
  await writeFile(join(directory, 'admin.token'), `${'0123456789abcdef'.repeat(4)}\n`)
  await writeFile(join(directory, 'mappings.tsv'), '')
  return (await readFile(join(ROOT, 'config', name), 'utf8')).replaceAll('/etc/signalbox', directory)
}

test('the reference loads when the files that it names are there', async () => {
  await using directory = await makeTemporary('reference')
  const text = await moved('reference.toml', directory.path)
  const env = { PROXY_ADMIN_TOKEN: 'x'.repeat(32) }
  const loaded = await checkText(text, undefined, env, { localAddresses: [] })
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.mistakes.map(mistakeText).join('\n'))
})

test('two-dovecots.toml loads as it is when the files that it names are there', async () => {
  await using directory = await makeTemporary('two')
  const loaded = await checkText(
    await moved('two-dovecots.toml', directory.path),
    undefined,
    {},
    { localAddresses: [] },
  )
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.mistakes.map(mistakeText).join('\n'))
  assert.deepEqual(loaded.warnings, [])
  const [legacy, stalwart] = loaded.config.destinations
  assert.equal(loaded.config.routing.defaultDestination, 'legacy')
  assert.deepEqual(legacy?.legs.imap, { protocol: 'imap', port: 143, tls: 'starttls', forwarding: 'none' })
  assert.deepEqual(stalwart?.legs.imap, { protocol: 'imap', port: 993, tls: 'implicit', forwarding: 'none' })
  assert.match(stalwart?.pinnedCertSha256 ?? '', /^[0-9a-f]{64}$/)
  assert.equal(loaded.config.mapping.file?.path, `${directory.path}/mappings.tsv`)
  assert.equal(loaded.config.admin?.token.length, 64)
})

