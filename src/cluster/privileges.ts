/**
 * Giving up root: after the listening sockets are bound, primary and workers become `server.user`.
 * What must still be readable and writable as that user is checked at once, so that a renewal or a mapping write doesn't
 * fail months later.
 */
import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { hostAccounts } from '../config/accounts.ts'
import type { Config } from '../config/config.ts'
import { SignalboxError } from '../errors.ts'

export interface Identity {
  readonly user: string
  readonly uid: number
  readonly gid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
}

/** The numbers behind server.user and server.group; undefined when no user is configured. Rejects with CONFIG_INVALID. */
export async function identityOf({ user, group }: Config['server']): Promise<Identity | undefined> {
  if (user === undefined && group === undefined) return undefined
  if (process.getuid?.() !== 0) {
    throw new SignalboxError('CONFIG_INVALID', 'server.user and server.group need a start as root')
  }
  const name = user ?? 'root'
  const account = await hostAccounts.user(name)
  if (account === undefined) throw new SignalboxError('CONFIG_INVALID', `server.user: there is no user "${name}"`)
  const gid = group === undefined ? account.gid : await hostAccounts.group(group)
  if (gid === undefined) throw new SignalboxError('CONFIG_INVALID', `server.group: there is no group "${group ?? ''}"`)
  return { user: name, uid: account.uid, gid, groups: [...new Set([gid, ...account.groups])] }
}

/**
 * For good: user, group and supplementary groups. Nothing happens where it has been done: a worker that is started after
 * the primary has given up root begins as that user, and may not even ask for what it has.
 */
export function dropPrivileges(identity: Identity): void {
  if (process.getuid?.() === identity.uid && process.getgid?.() === identity.gid) return
  process.setgroups?.([...identity.groups])
  process.setgid?.(identity.gid)
  process.setuid?.(identity.uid)
}

/** As the user that this process is now. Rejects with CONFIG_INVALID naming every path that can't be used. */
export async function checkAccess(config: Config): Promise<void> {
  const wanted: [string, number, string][] = config.tls.certificates.flatMap((certificate): [string, number, string][] => [
    [certificate.certPath, constants.R_OK, 'certificate'],
    [certificate.keyPath, constants.R_OK, 'key'],
  ])
  const { ticketKeyFile } = config.tls
  if (ticketKeyFile !== undefined) wanted.push([ticketKeyFile, constants.R_OK, 'ticket keys'])
  if (config.mapping.source === 'file' && config.mapping.file !== undefined) {
    wanted.push([config.mapping.file.path, constants.R_OK, 'mapping file'])
    wanted.push([dirname(config.mapping.file.path), constants.W_OK, "mapping file's directory"])
  }
  const failures: string[] = []
  for (const [path, mode, what] of wanted) {
    try {
      await access(path, mode)
    } catch (error) {
      failures.push(`${what} ${path}: ${codeOf(error)}`)
    }
  }
  const replace = await replaceable(config)
  if (replace !== undefined) failures.push(replace)
  if (failures.length > 0) {
    throw new SignalboxError('CONFIG_INVALID', `as user "${config.server.user ?? ''}" these cannot be used: ${failures.join('; ')}`)
  }
}

/** A write replaces the mapping file by a new one with the same owner and group, which must be ours to give. */
async function replaceable({ mapping: { source, file } }: Config): Promise<string | undefined> {
  if (source !== 'file' || file === undefined || process.getuid?.() === 0) return undefined
  const stats = await stat(file.path).catch(() => undefined)
  // Missing or out of reach: said by the other checks.
  if (stats === undefined) return undefined
  const ours = process.getuid?.() === stats.uid && (process.getgid?.() === stats.gid || process.getgroups?.().includes(stats.gid) === true)
  return ours ? undefined : `mapping file ${file.path}: must belong to the user and to one of its groups`
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'no access'
}
