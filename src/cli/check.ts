/**
 * `signalbox check FILE`: says whether a configuration would start, with every mistake on a line of its own, the
 * mapping file's included, or a summary of what it would do. Binds nothing, and connects to nobody unless asked to probe.
 */
import type { Config, DestinationConfig, ListenerConfig } from '../config/config.ts'
import type { Environment } from '../config/environment.ts'
import { loadConfig } from '../config/load.ts'
import { mistakeText } from '../config/mistake.ts'
import { checkMapping } from './check-mapping.ts'

/**
 * @param out takes the summary, line by line (each with its line break)
 * @param err takes mistakes and warnings
 * @param options `probe`: then every destination is asked what it can do
 * @returns the exit status: 0 sound, 2 not; 1: a destination couldn't be asked, or can't do what is claimed
 */
export async function check(
  path: string,
  env: Environment,
  out: (text: string) => void,
  err: (text: string) => void,
  options: { readonly probe?: boolean } = {},
): Promise<0 | 1 | 2> {
  const loaded = await loadConfig(path, env)
  if (!loaded.ok) {
    const count = loaded.mistakes.length
    err(`${path}: ${count} ${count === 1 ? 'mistake' : 'mistakes'}\n`)
    for (const mistake of loaded.mistakes) err(`  ${mistakeText(mistake)}\n`)
    return 2
  }
  const mapping = checkMapping(loaded.config)
  for (const warning of [...loaded.warnings, ...mapping.warnings]) err(`warning: ${warning}\n`)
  if (mapping.mistakes.length > 0) {
    err(`${path}: the mapping file is refused\n`)
    for (const mistake of mapping.mistakes) err(`  ${mistake}\n`)
    return 2
  }
  out(`${path}: ok\n`)
  for (const line of summary(loaded.config)) out(`  ${line}\n`)
  return options.probe === true ? (await import('./probe.ts')).probe(loaded.config, out) : 0
}

/** What the configuration amounts to, one thing a line. No secret is part of it. */
export function summary(config: Config): readonly string[] {
  return [
    `workers: ${config.server.threads}`,
    ...config.listeners.map(listenerLine),
    ...config.destinations.map((destination) => destinationLine(destination, config)),
    `mappings: ${sourceText(config)}, ${config.mapping.normalize === 'none' ? 'as they are' : config.mapping.normalize}`,
    `management: ${config.admin === undefined ? 'none' : config.admin.bind.text}`,
  ]
}

function listenerLine(listener: ListenerConfig): string {
  const places = listener.bind.map((address) => address.text).join(', ')
  return `listener ${listener.name}: ${listener.protocol} on ${places}, TLS ${listener.tls}`
}

function destinationLine(destination: DestinationConfig, config: Config): string {
  const legs = Object.values(destination.legs).map((leg) => `${leg.protocol} ${leg.port} ${leg.tls}`)
  const fallback = destination.name === config.routing.defaultDestination ? ' (default)' : ''
  return `destination ${destination.name}${fallback}: ${destination.host}, ${legs.length === 0 ? 'no legs' : legs.join(', ')}`
}

function sourceText(config: Config): string {
  const { source, file, redis } = config.mapping
  switch (source) {
    case 'file':
      return `file ${file?.path ?? ''}`
    case 'redis':
      return `redis, keys ${redis?.keyPrefix ?? ''}…`
    case 'sql':
      return 'sql'
  }
}
