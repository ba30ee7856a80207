/**
 * From a file to a Config, or to the list of all its mistakes. Nothing is bound or started before this has succeeded,
 * and a reload goes the same way. Order: TOML, tables and keys, rules across keys, files,
 * and only when nothing was found wrong the Config. The mapping file itself is read by its source.
 *
 * Relative paths in the file are relative to the working directory, as in the Stalwart migration proxy.
 */
import { open } from 'node:fs/promises'
import { constants } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { resolve } from 'node:path'
import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'
import { buildConfig } from './build.ts'
import type { Config } from './config.ts'
import { hostAccounts, type HostAccounts } from './accounts.ts'
import { availableCores } from './cores.ts'
import { readEnvironment, type Environment } from './environment.ts'
import { readMaterials } from './materials.ts'
import type { Mistake, Report } from './mistake.ts'
import { checkRules } from './rules.ts'
import { TABLES } from './schema.ts'
import { Tables } from './tables.ts'
import { parseToml } from './toml.ts'

export type Loaded =
  | { readonly ok: true; readonly config: Config; readonly warnings: string[] }
  | { readonly ok: false; readonly mistakes: Mistake[] }

export interface LoadOptions {
  /** Only its time of day is used, for certificates. */
  readonly clock?: Pick<Clock, 'wall'>
  /** Addresses of this host; default: those of its interfaces. */
  readonly localAddresses?: readonly string[]
  /** Users and groups; default: those that this host knows. */
  readonly accounts?: HostAccounts
  /** What stands for log.redaction_key where the file has none; default: a new one. */
  readonly redactionKey?: string
  /** What threads = 0 stands for; default: the cores that this process may use. */
  readonly cores?: number
}

/** Larger than any configuration. */
const LARGEST = 16 * 1_048_576

/** Loads and checks a configuration file. Never rejects for what the file or the files named in it hold. */
export async function loadConfig(path: string, env: Environment, options: LoadOptions = {}): Promise<Loaded> {
  let text: string
  try {
    text = await readConfiguration(path)
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message.replace(/, open '.*'$/s, '') : String(thrown)
    return { ok: false, mistakes: [{ path: '', message: `${path} cannot be read: ${reason}` }] }
  }
  return checkText(text, resolve(path), env, options)
}

/** The same for a text that is at hand; `path` is where it came from. */
export async function checkText(
  text: string,
  path: string | undefined,
  env: Environment,
  options: LoadOptions = {},
): Promise<Loaded> {
  const document = parseToml(text)
  if (!document.ok) return { ok: false, mistakes: [document.mistake] }
  const report: Report = { mistakes: [], warnings: [] }
  const environment = readEnvironment(env, report)
  const tables = new Tables(TABLES, document.table, report)
  checkRules(tables, { localAddresses: options.localAddresses ?? ownAddresses() }, report)
  const wall = (options.clock ?? systemClock).wall()
  const materials = await readMaterials(tables, { environment, wall, accounts: options.accounts ?? hostAccounts }, report)
  if (report.mistakes.length > 0) return { ok: false, mistakes: report.mistakes }
  const config = buildConfig({ path, tables, environment, materials, cores: options.cores ?? availableCores(), redactionKey: options.redactionKey })
  return { ok: true, config, warnings: report.warnings }
}

async function readConfiguration(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const status = await file.stat()
    if (!status.isFile()) throw new Error('not a regular file')
    if (status.size > LARGEST) throw new Error(`larger than ${LARGEST} bytes`)
    const bytes = await file.readFile()
    // TOML is UTF-8; anything else would be read as something that nobody wrote.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } finally {
    await file.close()
  }
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((entry) => entry.address))
}
