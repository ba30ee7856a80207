/**
 * Where the instance is that a command talks to, and how it is known to be that one: URL, token and certificate. All three
 * stand in the configuration file that the instance runs with; options name others. The listener's own certificate
 * out of the configuration is trusted by itself, whoever signed it and whatever name it carries: who can read that file and
 * its token needs no authority between. Nothing here connects.
 */
import { readFile } from 'node:fs/promises'
import type { Config } from '../config/config.ts'
import type { Environment } from '../config/environment.ts'
import { loadConfig } from '../config/load.ts'
import { mistakeText } from '../config/mistake.ts'
import { SignalboxError } from '../errors.ts'
import { defaultKeyPair } from '../tls/certificates.ts'

/** What every command that talks to an instance takes. */
export interface AccessOptions {
  readonly config?: string
  readonly url?: string
  readonly tokenFile?: string
  readonly ca?: string
  readonly insecure?: boolean
}

export interface Access {
  /** https, without a path. */
  readonly url: URL
  readonly token: string
  /** PEM texts that are trusted beside the system's. */
  readonly authorities: readonly string[]
  /** PEM text of the one certificate that is accepted by itself. */
  readonly pinned: string | undefined
  readonly insecure: boolean
}

/** Rejects with CONFIG_INVALID, its message for people. */
export async function findAccess(options: AccessOptions, env: Environment): Promise<Access> {
  const given = {
    url: options.url === undefined ? undefined : parseUrl(options.url),
    token: options.tokenFile === undefined ? env['PROXY_ADMIN_TOKEN'] : await readToken(options.tokenFile),
  }
  const authorities = options.ca === undefined ? [] : [await readText(options.ca, '--ca')]
  const insecure = options.insecure === true
  if (given.url !== undefined && given.token !== undefined && given.token !== '') {
    return { url: given.url, token: given.token, authorities, pinned: undefined, insecure }
  }
  const config = await configuration(options.config ?? env['PROXY_CONFIG'], env)
  const { admin } = config
  if (admin === undefined) throw invalid('the configuration has no [admin]: the instance has no management to talk to')
  const own = given.url === undefined
  return {
    url: given.url ?? urlOf(admin.bind),
    token: options.tokenFile === undefined ? admin.token : (given.token ?? admin.token),
    authorities,
    // At a URL of one's own choice anybody may answer.
    pinned: own && config.tls.certificates.length > 0 ? defaultKeyPair(config.tls, undefined, admin.certificate).cert : undefined,
    insecure,
  }
}

async function configuration(path: string | undefined, env: Environment): Promise<Config> {
  if (path === undefined) {
    throw invalid('where is the instance? Name its configuration with --config (or PROXY_CONFIG), or give --url and --token-file')
  }
  const loaded = await loadConfig(path, env)
  if (loaded.ok) return loaded.config
  throw invalid([`${path}: ${loaded.mistakes.length === 1 ? 'a mistake' : 'mistakes'}`, ...loaded.mistakes.map((one) => `  ${mistakeText(one)}`)].join('\n'))
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url === null || url.protocol !== 'https:' || url.hostname === '') throw invalid(`--url: ${JSON.stringify(text)} is no https URL`)
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '' || url.pathname !== '/') {
    throw invalid('--url: takes https://HOST:PORT and nothing more')
  }
  return url
}

/** Who listens everywhere is reached at home. */
function urlOf({ host, port, family }: { readonly host: string; readonly port: number; readonly family: 4 | 6 }): URL {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return new URL(`https://${family === 6 ? `[${name}]` : name}:${port}`)
}

async function readToken(path: string): Promise<string> {
  const token = (await readText(path, '--token-file')).trim()
  if (token === '' || /[^\x21-\x7e]/.test(token)) throw invalid(`--token-file: ${path} holds no token`)
  return token
}

async function readText(path: string, option: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new SignalboxError('CONFIG_INVALID', `${option}: ${path} cannot be read`, { cause })
  }
}

function invalid(message: string): SignalboxError {
  return new SignalboxError('CONFIG_INVALID', message)
}
