/**
 * The users and groups of this host, by name. Asked of `id` and `getent`, which know directories as well as /etc/passwd;
 * Node has no way of its own.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Report } from './mistake.ts'
import { show } from './mistake.ts'
import type { Section } from './section.ts'

export interface UserAccount {
  readonly uid: number
  /** The user's own group. */
  readonly gid: number
  /** All groups, the own one among them. */
  readonly groups: readonly number[]
}

export interface HostAccounts {
  /** Undefined: there is no such user. */
  user(name: string): Promise<UserAccount | undefined>
  /** The number of a group, by name or number; undefined: there is no such group. */
  group(name: string): Promise<number | undefined>
}

const run = promisify(execFile)

export const hostAccounts: HostAccounts = {
  async user(name) {
    const [uid] = await numbers('id', ['-u', '--', name])
    const [gid] = await numbers('id', ['-g', '--', name])
    return uid === undefined || gid === undefined ? undefined : { uid, gid, groups: await numbers('id', ['-G', '--', name]) }
  },
  async group(name) {
    if (/^\d+$/.test(name)) return Number(name)
    const { stdout } = await run('getent', ['group', '--', name]).catch(() => ({ stdout: '' }))
    const number = stdout.split(':')[2]
    return number === undefined ? undefined : Number(number)
  },
}

/** Whether server.user and server.group are there. Whether we may become them only the start can tell: it needs root. */
export async function checkIdentity(server: Section, accounts: HostAccounts, report: Report): Promise<void> {
  for (const key of ['user', 'group'] as const) {
    const name = server.text(key)
    if (name === undefined || (await accounts[key](name)) !== undefined) continue
    report.mistakes.push({ path: server.path(key), message: `there is no such ${key} on this host`, found: show(name) })
  }
}

/** What the program prints, numbers in a row; empty: it refuses. */
async function numbers(program: string, args: readonly string[]): Promise<number[]> {
  const { stdout } = await run(program, args).catch(() => ({ stdout: '' }))
  return stdout.trim() === '' ? [] : stdout.trim().split(' ').map(Number)
}
