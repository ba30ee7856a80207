/** Where figures were measured: the machine, and the versions of everything that took part. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem, type as system } from 'node:os'
import { findProgram } from '../test/support/programs.ts'
import { VERSION } from '../src/version.ts'

export interface Machine {
  readonly processor: string
  /** That this process may use. */
  readonly cores: number
  readonly memoryGb: number
  readonly system: string
  /** Load average of the last minute, before the run. */
  readonly load: number
  /** By name; programs that are missing are not in it. */
  readonly versions: Readonly<Record<string, string>>
}

/** How each program is asked, and where its answer has the version. */
const PROGRAMS: readonly (readonly [name: string, program: string, args: readonly string[], version: RegExp])[] = [
  ['nginx', 'nginx', ['-v'], /nginx\/(\S+)/],
  ['Dovecot', 'dovecot', ['--version'], /^(\S+)/],
  ['HAProxy', 'haproxy', ['-v'], /version (\S+)/i],
  ['perdition', 'perdition', ['--help'], /version (\S+)/],
  ['Redis', 'redis-server', ['--version'], /v=(\S+)/],
  ['PostgreSQL', 'postgres', ['--version'], /(\d+\S*)/],
  ['MariaDB', 'mariadbd', ['--version'], /Ver (\S+?)-/],
]

export function machine(): Machine {
  const versions: Record<string, string> = { Signalbox: VERSION, 'Node.js': process.versions.node, OpenSSL: process.versions.openssl }
  for (const [name, program, args, pattern] of PROGRAMS) {
    const path = findProgram(program)
    if (path === undefined) continue
    const { stdout, stderr } = spawnSync(path, [...args], { encoding: 'utf8' })
    const found = pattern.exec(`${stdout}${stderr}`)?.[1]
    if (found !== undefined) versions[name] = found
  }
  return {
    processor: cpus()[0]?.model.trim() ?? modelName(),
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 1e9),
    system: `${system()} ${release().replace(/-.*/, '')}`,
    load: loadavg()[0] ?? 0,
    versions,
  }
}

function modelName(): string {
  return /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown'
}
