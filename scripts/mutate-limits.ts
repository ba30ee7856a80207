/**
 * `npm run test:limits-bite`: whether the tests of the bounds notice when a bound is gone. Each constant of src/limits.ts is
 * changed for the program alone (scripts/mutated-limits.ts), and the test file that test/support/bounds.ts names for it is run: times
 * 1,000, and 1 instead. It bites if the file fails both times, or hangs. Names as arguments: only those. `--exact`: by N + 1 and N - 1
 * instead, which not every test can tell: pauses with jitter, what comes in pieces, what lasts for real.
 *
 * Not part of `npm test`: it takes long. Files run one after the other; each has a minute.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../src/clock.ts'
import * as limits from '../src/limits.ts'
import { NOT_PROVEN, TRIED_IN } from '../test/support/bounds.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PRELOAD = new URL('mutated-limits.ts', import.meta.url).href
const HANGS_MS = 60_000

const MUTATIONS = { 'times 1,000': 'n * 1000', 'instead 1': 'n > 1 ? 1 : 0' } as const
const EXACT = { 'N + 1': 'n + 1', 'N - 1': 'n - 1' } as const

const { values, positionals } = parseArgs({ allowPositionals: true, options: { exact: { type: 'boolean', default: false } } })
const say = (text: string): void => void process.stdout.write(text)

const unknown = positionals.filter((name) => !(name in limits))
if (unknown.length > 0) throw new Error(`src/limits.ts has no ${unknown.join(', ')}`)

const missed: string[] = []
const sound = new Map<string, boolean>()
for (const [name, file] of Object.entries(TRIED_IN)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  say(`${name} in ${file}:`)
  if (!sound.has(file)) sound.set(file, (await run(file)).outcome === 'passes')
  if (sound.get(file) !== true) {
    say(' the file fails as it is\n')
    missed.push(`${name}: ${file} fails as it is`)
    continue
  }
  for (const [title, as] of Object.entries(values.exact ? EXACT : MUTATIONS)) {
    const { outcome, seconds } = await run(file, name, as)
    say(` ${title} ${outcome} (${seconds.toFixed(1)} s);`)
    if (outcome === 'passes') missed.push(`${name}: ${file} passes with ${title}`)
  }
  say('\n')
}
for (const line of missed) say(`NOT NOTICED ${line}\n`)
for (const [name, reason] of Object.entries(NOT_PROVEN)) if (positionals.length === 0) say(`WITHOUT A TEST ${name}: ${reason}\n`)
process.exitCode = missed.length === 0 ? 0 : 1

/** Runs a test file with a bound changed, or as it is. */
async function run(file: string, name = '', as = 'n'): Promise<{ readonly outcome: 'passes' | 'fails' | 'hangs'; readonly seconds: number }> {
  const env = { ...process.env, NODE_OPTIONS: `--import=${PRELOAD}`, SIGNALBOX_MUTATED_LIMIT: name, SIGNALBOX_MUTATED_AS: as }
  const began = systemClock.now()
  // What a failed test leaves open is not waited for. A group of its own: what hangs goes with all that it has started.
  const child = spawn(process.execPath, ['--test-force-exit', `test/${file}.test.ts`], { cwd: ROOT, env, detached: true, stdio: 'ignore' })
  let hangs = false
  const end = systemClock.after(HANGS_MS, () => {
    hangs = true
    endGroup(child.pid)
  })
  const [code] = await once(child, 'exit')
  end.cancel()
  endGroup(child.pid)
  return { outcome: hangs ? 'hangs' : code === 0 ? 'passes' : 'fails', seconds: (systemClock.now() - began) / 1_000 }
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Nobody is left in it.
  }
}
