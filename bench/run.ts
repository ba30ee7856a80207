/**
 * `npm run bench`: runs every question of this folder, or the ones named (`npm run bench -- resolve`), one after the
 * other, each in a process of its own. A question is a file that prints its figures; nothing here judges them.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

const HERE = import.meta.dirname
const questions = readdirSync(HERE)
  .filter((name) => name.endsWith('.ts') && name !== 'run.ts')
  .map((name) => name.slice(0, -'.ts'.length))
const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !questions.includes(name))
if (unknown.length > 0) {
  console.error(`no such question: ${unknown.join(', ')}; there are: ${questions.join(', ')}`)
  process.exit(2)
}
let status = 0
for (const question of asked.length === 0 ? questions : asked) {
  console.error(`bench: ${question}`)
  const run = spawnSync(process.execPath, ['--expose-gc', join(HERE, `${question}.ts`)], { stdio: 'inherit' })
  status ||= run.status ?? 1
}
process.exitCode = status
