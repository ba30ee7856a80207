/**
 * Programs that tests need and that npm can't bring: where they are, which Debian package has them, and what to do when
 * one is missing: with CI=true the test fails, otherwise it is skipped and says what to install.
 */
import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Program → Debian package. test/run.ts installs these. */
export const PACKAGES = {
  dovecot: 'dovecot-imapd',
  'pop3-login': 'dovecot-pop3d',
  'managesieve-login': 'dovecot-managesieved',
  'submission-login': 'dovecot-submissiond',
  lmtp: 'dovecot-lmtpd',
  postfix: 'postfix',
  swaks: 'swaks',
  mbsync: 'isync',
  curl: 'curl',
  python3: 'python3',
  nginx: 'nginx',
  haproxy: 'haproxy',
  openssl: 'openssl',
  'fail2ban-regex': 'fail2ban',
  'systemd-analyze': 'systemd',
  'systemd-notify': 'systemd',
  'redis-server': 'redis-server',
  postgres: 'postgresql',
  mariadbd: 'mariadb-server',
} as const satisfies Record<string, string>

/** Debian package → services that it would start by itself. */
export const SERVICES: Readonly<Record<string, readonly string[]>> = {
  'dovecot-imapd': ['dovecot.service', 'dovecot.socket'],
  postfix: ['postfix.service'],
  fail2ban: ['fail2ban.service'],
  nginx: ['nginx.service'],
  haproxy: ['haproxy.service'],
  'redis-server': ['redis-server.service'],
  postgresql: ['postgresql.service'],
  'mariadb-server': ['mariadb.service'],
}

export type Program = keyof typeof PACKAGES

/** Directories that an ordinary user's PATH often lacks. */
const ALSO = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/lib/dovecot']
/** Where Debian keeps PostgreSQL's programs, one directory per version. */
const POSTGRES = '/usr/lib/postgresql'

/** The program's path, or undefined. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), ...ALSO, ...postgresDirectories()]
  return directories.filter((directory) => directory !== '').map((directory) => join(directory, name)).find(isExecutable)
}

/** The program's path; throws, naming the package, when it is missing. */
export function programPath(name: Program): string {
  const path = findProgram(name)
  if (path === undefined) throw new Error(`${name} is missing: apt-get install ${PACKAGES[name]}`)
  return path
}

/**
 * For the `skip` option of a test: false when everything is there, or on CI, where the test then fails and so says what
 * is missing; otherwise the reason.
 */
export function skipWithout(...programs: readonly Program[]): string | false {
  if (process.env['CI'] === 'true') return false
  const missing = programs.filter((name) => findProgram(name) === undefined)
  return missing.length === 0 ? false : `missing: apt-get install ${missing.map((name) => PACKAGES[name]).join(' ')}`
}

/** The newest version first. */
function postgresDirectories(): string[] {
  if (!existsSync(POSTGRES)) return []
  const versions = readdirSync(POSTGRES).filter((name) => /^\d+$/.test(name))
  return versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(POSTGRES, version, 'bin'))
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
