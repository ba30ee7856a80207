/**
 * A real Dovecot (2.3) as a private instance: everything in a temporary directory, on free loopback ports, with its own
 * users, certificate and log. As root its processes run as the package's unprivileged users, otherwise as ourselves.
 * Each user's INBOX holds one message that names the server. Speaks IMAP, and all its other protocols when asked to
 * (dovecot-services.ts).
 */
import { spawn } from 'node:child_process'
import { chownSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import type { Issued } from './certificates.ts'
import { servicePorts, servicesText } from './dovecot-services.ts'
import type { ServicePorts } from './dovecot-services.ts'
import { freePorts } from './ports.ts'
import { programPath } from './programs.ts'
import { makeTemporary } from './temporary.ts'
import { WireClient } from './wire-client.ts'

/** nobody: owns the mail when we are root. */
const NOBODY = 65534
const START_MS = 20_000
const STOP_MS = 10_000

export interface DovecotOptions {
  /** Shown in the greeting and in the message: "You are on the NAME server." */
  readonly name: string
  readonly users: Readonly<Record<string, string>>
  readonly certificate: Issued
  /** Also POP3, ManageSieve, LMTP, and submission when it has somewhere to relay to. */
  readonly services?: {
    /** Port of an SMTP server on loopback. */
    readonly relay?: number
    /** Path of a socket through which Postfix may ask for logins. */
    readonly authSocket?: string
    /** Further lines of the configuration. */
    readonly settings?: string
  }
}

export interface Dovecot extends AsyncDisposable {
  readonly name: string
  /** Port with STARTTLS; no login without, except from the address it listens on (127.0.0.1 counts as safe). */
  readonly starttlsPort: number
  /** Port with implicit TLS. */
  readonly implicitPort: number
  /** Present when services were asked for. */
  readonly ports: ServicePorts | undefined
  readonly pid: number
  /** The whole log so far. */
  log(): Promise<string>
  /** Adds a message to a user's INBOX behind the server's back (Maildir). */
  deliver(user: string, message: string): Promise<void>
  stop(): Promise<void>
}

export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const temporary = await makeTemporary('dovecot', 0o755)
  const [starttlsPort = 0, implicitPort = 0] = await freePorts(2)
  const ports = options.services === undefined ? undefined : await servicePorts()
  const root = temporary.path
  const mail = join(root, 'mail')
  await mkdir(mail)
  give(mail)
  await writeFile(join(root, 'cert.pem'), options.certificate.cert)
  await writeFile(join(root, 'key.pem'), options.certificate.key, { mode: 0o600 })
  const users = Object.entries(options.users).map(([user, password]) => `${user}:{PLAIN}${password}\n`).join('')
  await writeFile(join(root, 'users'), users)
  await writeFile(join(root, 'log'), '')
  await writeFile(join(root, 'dovecot.conf'), configuration(root, options, starttlsPort, implicitPort) + services(options, ports))

  let delivered = 0
  const deliver = async (user: string, message: string): Promise<void> => {
    // Every directory on the way belongs to the mail's owner, or Dovecot can't add its own files.
    let at = mail
    for (const part of [user, 'new']) {
      at = join(at, part)
      await mkdir(at, { recursive: true })
      give(at)
    }
    const path = join(at, `${Math.floor(Date.now() / 1000)}.M${++delivered}P${process.pid}.localhost`)
    await writeFile(path, message.replaceAll(/\r?\n/g, '\r\n'))
    give(path)
  }
  for (const user of Object.keys(options.users)) {
    await deliver(user, `From: postmaster@example.com\nTo: ${user}\nSubject: ${options.name}\n\nYou are on the ${options.name} server.\n`)
  }

  const child = spawn(programPath('dovecot'), ['-F', '-c', join(root, 'dovecot.conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString('utf8')))
  let over = false
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  void ended.then(() => (over = true))
  const killAtExit = (): void => void child.kill('SIGTERM')
  process.once('exit', killAtExit)

  const log = (): Promise<string> => readFile(join(root, 'log'), 'utf8')
  const stop = async (): Promise<void> => {
    process.off('exit', killAtExit)
    child.kill('SIGTERM')
    const timer = systemClock.after(STOP_MS, () => child.kill('SIGKILL'))
    await ended
    timer.cancel()
    await temporary.remove()
  }
  const deadline = systemClock.now() + START_MS
  while (!(await greets(starttlsPort))) {
    if (over || systemClock.now() > deadline) {
      const said = `${complaints}\n${await log()}`
      await stop()
      throw new Error(`Dovecot did not start: ${said}`)
    }
    await systemClock.sleep(50)
  }
  return { name: options.name, starttlsPort, implicitPort, ports, pid: child.pid ?? 0, log, deliver, stop, [Symbol.asyncDispose]: stop }
}

function services({ services: wanted }: DovecotOptions, ports: ServicePorts | undefined): string {
  if (wanted === undefined || ports === undefined) return ''
  return `${servicesText(ports, wanted.relay, wanted.authSocket)}${wanted.settings ?? ''}\n`
}

/** Whether the server greets yet. */
async function greets(port: number): Promise<boolean> {
  try {
    const client = await WireClient.connect({ port })
    await client.until(/^\* OK .*\r\n/)
    client.destroy()
    return true
  } catch {
    // Not yet: the caller asks again until its deadline.
    return false
  }
}

/** Mail belongs to nobody when we are root, because Dovecot refuses mail users with uid 0. */
function give(path: string): void {
  if (process.getuid?.() === 0) chownSync(path, NOBODY, NOBODY)
}

function configuration(root: string, options: DovecotOptions, starttlsPort: number, implicitPort: number): string {
  const isRoot = process.getuid?.() === 0
  const { username, uid, gid } = userInfo()
  const users = isRoot
    ? 'default_internal_user = dovecot\ndefault_login_user = dovenull\n'
    : `default_internal_user = ${username}\ndefault_internal_group = ${gid}\ndefault_login_user = ${username}\n`
  const owner = isRoot ? `uid=${NOBODY} gid=${NOBODY}` : `uid=${uid} gid=${gid}`
  return `
${users}
base_dir = ${root}/run
state_dir = ${root}/state
log_path = ${root}/log
log_timestamp = ""
auth_verbose = yes
protocols = imap
listen = 127.0.0.1
login_greeting = ${options.name} server
ssl = required
ssl_cert = <${root}/cert.pem
ssl_key = <${root}/key.pem
disable_plaintext_auth = yes
auth_mechanisms = plain login
auth_failure_delay = 0
mail_location = maildir:${root}/mail/%u
mail_max_userip_connections = 1000
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = ${root}/users
}
userdb {
  driver = static
  args = ${owner} home=${root}/mail/%u
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
service imap-login {
  chroot =
  service_count = 0
  client_limit = 2000
  inet_listener imap {
    port = ${starttlsPort}
  }
  inet_listener imaps {
    port = ${implicitPort}
    ssl = yes
  }
}
`
}
