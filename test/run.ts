/**
 * What `npm test` runs after the checks: sees to the programs that tests need from outside npm (real mail servers and
 * clients), then hands over to Node's test runner, whose closing lines are the last ones printed.
 *
 * As root on Debian missing packages are installed, with their services neither started nor enabled: tests start
 * private instances of their own on loopback ports. Elsewhere it names what is missing; with CI=true that ends the run, otherwise
 * the tests concerned are skipped and say so.
 *
 * Files in which something failed are named and run once more, alone; what fails then has failed.
 *
 * Arguments: parts of test file names (`node test/run.ts demo system/imap`), and options for the test runner (`--test-name-pattern=…`).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findProgram, PACKAGES, SERVICES } from './support/programs.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** Two cores are the least that a machine for this has. Most files wait for servers or for time to pass, so a third one fits in. */
const CONCURRENCY = 3
/** As many files are run once more, alone, when something in them failed; more at once are no accident. */
const AGAIN = 8
const REPORTER = new URL('support/failed-files.ts', import.meta.url).href
/** Debian asks this script before it starts a service; 101 means no. */
const POLICY = '/usr/sbin/policy-rc.d'

process.exitCode = main(process.argv.slice(2))

function main(args: readonly string[]): number {
  const options = args.filter((argument) => argument.startsWith('-'))
  const filters = args.filter((argument) => !argument.startsWith('-'))
  const files = globSync('test/**/*.test.ts', { cwd: ROOT })
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter.replace(/^\.\//, ''))))
    .sort()
  if (files.length === 0) return complain(`no test file matches ${filters.join(' ')}`, 2)
  if (!providePrograms()) return 1
  const first = runTests(files, CONCURRENCY, options)
  if (first.status === 0 || first.failed.length === 0 || first.failed.length > AGAIN) return first.status
  // On a busy machine a dozen servers and processes may stumble over each other. A file that fails alone as well has failed.
  complain(`${first.failed.join(' ')} failed; each once more, alone`, 1)
  return runTests(first.failed, 1, options).status
}

/** Runs them and says which failed. */
function runTests(files: readonly string[], concurrency: number, options: readonly string[]): { readonly status: number; readonly failed: readonly string[] } {
  const directory = mkdtempSync(join(tmpdir(), 'signalbox-run-'))
  const list = join(directory, 'failed')
  try {
    const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout', `--test-reporter=${REPORTER}`, `--test-reporter-destination=${list}`]
    const run = spawnSync(process.execPath, ['--test', `--test-concurrency=${concurrency}`, ...reporters, ...options, ...files], { cwd: ROOT, stdio: 'inherit' })
    const failed = existsSync(list) ? readFileSync(list, 'utf8').split('\n').filter((file) => files.includes(file)) : []
    return { status: run.status ?? 1, failed }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Finds or installs what PACKAGES lists. False: this run can't go on. */
function providePrograms(): boolean {
  if (missingPackages().length > 0 && process.getuid?.() === 0 && findProgram('apt-get') !== undefined) install(missingPackages())
  const missing = missingPackages()
  if (missing.length === 0) return true
  complain(`missing for some tests: apt-get install ${missing.join(' ')}`, 1)
  return process.env['CI'] !== 'true'
}

function missingPackages(): string[] {
  return Object.entries(PACKAGES).filter(([program]) => findProgram(program) === undefined).map(([, name]) => name)
}

function install(packages: readonly string[]): void {
  process.stderr.write(`installing for the tests: ${packages.join(' ')}\n`)
  const ours = !existsSync(POLICY)
  if (ours) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    // Failures show as programs still missing; apt's own words are on standard error by then.
    if (aptGet(['update', '-qq'])) aptGet(['install', '-qq', '-y', '--no-install-recommends', ...packages])
  } finally {
    if (ours) rmSync(POLICY, { force: true })
  }
  const services = packages.flatMap((name) => SERVICES[name] ?? [])
  if (services.length > 0 && findProgram('systemctl') !== undefined) {
    const disabled = spawnSync('systemctl', ['disable', '--quiet', ...services], { stdio: ['ignore', 2, 2] })
    if (disabled.status !== 0) complain(`could not disable ${services.join(' ')}: they would start at the next boot`, 1)
  }
}

function aptGet(args: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  // Its output goes to standard error: standard output belongs to the test runner.
  return spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] }).status === 0
}

function complain(text: string, status: number): number {
  process.stderr.write(`test/run.ts: ${text}\n`)
  return status
}
