/** What docs/security.md promises is shown by tests that exist: every file it names, and every title it quotes. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'

const ROOT = new URL('../', import.meta.url)
const page = await readFile(new URL('docs/security.md', ROOT), 'utf8')

/** The rows of the tables whose second column is "the test that shows it". */
function promises(): string[] {
  const tables = page.split(/^\| what is promised \| the test that shows it \|\n\| --- \| --- \|\n/m).slice(1)
  return tables.flatMap((table) => (table.split('\n\n')[0] ?? '').split('\n').filter((line) => line.startsWith('|')))
}

describe('docs/security.md', () => {
  it('names a test for every promise, each of which exists', async () => {
    const rows = promises()
    assert.ok(rows.length > 40, `${rows.length} rows`)
    for (const row of rows) {
      // Titles may quote words themselves: one ends where the next file or the row does.
      const [, , shown = ''] = row.split('|')
      const named = [...shown.matchAll(/`(test\/[\w./-]+\.ts)`(?:: "(.+?)"(?=; | $))?/g)]
      assert.ok(named.length > 0, `no test: ${row}`)
      for (const [, file = '', title] of named) {
        assert.ok(existsSync(new URL(file, ROOT)), file)
        if (title === undefined) continue
        const source = (await readFile(new URL(file, ROOT), 'utf8')).replaceAll("\\'", "'")
        assert.ok(source.includes(title), `${file} has no test "${title}"`)
      }
    }
  })

  it('names no file that is not there', () => {
    for (const [, file = ''] of page.matchAll(/`((?:test|src|packaging|docs)\/[\w./-]+\.\w+)`/g)) assert.ok(existsSync(new URL(file, ROOT)), file)
  })
})
