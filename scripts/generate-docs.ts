/**
 * Writes what is generated from the schema: docs/configuration.md and config/reference.toml. With --check nothing is
 * written; the exit status is 1, and the files are named, when they differ from what would be.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { generatedFiles } from '../src/config/document.ts'

const root = process.argv.find((argument) => argument.startsWith('--root='))?.slice('--root='.length)
  ?? join(dirname(fileURLToPath(import.meta.url)), '..')
const checking = process.argv.includes('--check')

for (const { path, text } of generatedFiles()) {
  const target = join(root, path)
  if (checking) {
    const present = await readFile(target, 'utf8').catch(() => undefined)
    if (present === text) continue
    process.stderr.write(`${path} ${present === undefined ? 'is missing' : 'differs from the schema'}: run scripts/generate-docs.ts\n`)
    process.exitCode = 1
  } else {
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, text)
    process.stdout.write(`${path} written\n`)
  }
}
