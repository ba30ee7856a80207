/**
 * `npm run test:chaos -- [--minutes N] [--seed S] [--source redis|file] [--seed-violation route|byte|silence|cut]`: prints what was done,
 * what was seen, what was violated: nothing. Status 1 when something was; 3 when the violation on purpose was not found. With a file as
 * source the whole run moves into a name space of its own, where a small file system can be mounted and filled; without one that fault is
 * left out, and it says so.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { chaos, SEEDED } from './chaos.ts'

const DISK = 'SIGNALBOX_CHAOS_DISK'

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '5' }, seed: { type: 'string' }, source: { type: 'string', default: 'redis' }, 'seed-violation': { type: 'string' } },
})
process.exitCode = await main()

async function main(): Promise<number> {
  const seeded = SEEDED.find((name) => name === values['seed-violation'])
  const source = values.source === 'file' ? 'file' : 'redis'
  if ((values['seed-violation'] !== undefined && seeded === undefined) || (values.source !== source) || (seeded === 'route' && source === 'file')) {
    say('usage: npm run test:chaos -- [--minutes N] [--seed S] [--source redis|file] [--seed-violation route|byte|silence|cut] (route: redis only)')
    return 2
  }
  const disk = process.env[DISK]
  if (source === 'file' && disk === undefined) {
    const status = onOwnDisk()
    if (status !== undefined) return status
    say('no file system can be mounted here: the disk does not get full')
  }
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
  say(`seed ${seed}, ${values.minutes} minutes, source ${source}${seeded === undefined ? '' : `, with a violation on purpose: ${seeded}`}`)
  const report = await chaos({ minutes: Number(values.minutes), seed, source, disk, seeded, say: (line) => say(`${new Date().toISOString().slice(11, 23)} ${line}`) })
  const list = (counts: Readonly<Record<string, number>>): string => Object.entries(counts).map(([what, count]) => `${count} ${what}`).join(', ')
  say(`done: ${report.rounds} rounds; faults: ${list(report.faults)}; operations: ${list(report.operations)}`)
  say(`seen: visits: ${list(report.visits)}; ${report.judged} destinations judged; ${report.confirmed} changes confirmed, of ${report.unknown} nobody knew the outcome until the calm`)
  say(report.violations.length === 0 ? 'violated: nothing' : `violated:\n${report.violations.slice(0, 20).join('\n')}\n(${report.violations.length} in all)`)
  if (seeded !== undefined) {
    const [first] = report.named?.split('\n') ?? []
    say(first === undefined ? `the violation on purpose was not found: ${seeded}` : `found, as it should be: ${first}`)
    if (first === undefined) return 3
  }
  return report.violations.length === 0 ? 0 : 1
}

/** The same run where it has a disk of 512 KiB; undefined: that can't be had here. */
function onOwnDisk(): number | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'signalbox-disk-'))
  try {
    const script = 'mount -t tmpfs -o size=512k none "$0" || exit 99; exec "$@"'
    const args = [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
    const run = spawnSync('unshare', ['-rm', '/bin/sh', '-c', script, directory, process.execPath, ...args], { stdio: 'inherit', env: { ...process.env, [DISK]: directory } })
    return run.error !== undefined || run.status === 99 || run.status === null ? undefined : run.status
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
