/**
 * What the environment says to the configuration: LOG_LEVEL, RUST_LOG (kept for those who come from the Stalwart
 * migration proxy, when it is a plain level and not a filter expression), PROXY_ADMIN_TOKEN and
 * SIGNALBOX_CLUSTER_SECRET. An empty variable counts as unset.
 */
import type { LogLevel } from './config.ts'
import { listed } from './format.ts'
import { TOKEN } from './format-values.ts'
import { show, type Report } from './mistake.ts'
import { nearest } from './nearest.ts'
import { LOG_LEVELS } from './schema-server.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface FromEnvironment {
  readonly logLevel: LogLevel | undefined
  readonly adminToken: string | undefined
  readonly clusterSecret: string | undefined
}

export function readEnvironment(env: Environment, report: Report): FromEnvironment {
  const adminToken = nonEmpty(env['PROXY_ADMIN_TOKEN'])
  const wrong = adminToken === undefined ? undefined : TOKEN.check(adminToken)
  if (wrong !== undefined) report.mistakes.push({ path: 'PROXY_ADMIN_TOKEN', message: wrong, allowed: TOKEN.allowed })
  return { logLevel: logLevel(env, report), adminToken, clusterSecret: nonEmpty(env['SIGNALBOX_CLUSTER_SECRET']) }
}

function logLevel(env: Environment, report: Report): LogLevel | undefined {
  const wanted = nonEmpty(env['LOG_LEVEL'])
  if (wanted !== undefined) {
    const level = levelOf(wanted)
    if (level !== undefined) return level
    const near = nearest(wanted, LOG_LEVELS)
    const mistake = { path: 'LOG_LEVEL', message: 'not a level', found: show(wanted), allowed: listed(LOG_LEVELS) }
    report.mistakes.push(near === undefined ? mistake : { ...mistake, suggestion: near })
    return undefined
  }
  const alias = nonEmpty(env['RUST_LOG'])
  if (alias === undefined) return undefined
  const level = levelOf(alias)
  if (level === undefined) report.warnings.push(`RUST_LOG is ignored: ${show(alias)} is not a plain level.`)
  return level
}

function levelOf(text: string): LogLevel | undefined {
  return LOG_LEVELS.find((level) => level === text.toLowerCase())
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text
}
