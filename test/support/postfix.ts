/**
 * A real Postfix as a private instance: everything in a temporary directory, on free loopback ports, with its own queue and
 * log. It takes mail for example.com from everybody and from logged-in users for everywhere (logins are asked of Dovecot's
 * socket), trusts 127.0.0.1 (not the other addresses of loopback) with XCLIENT on ports of their own, and delivers by LMTP. Its
 * master needs root.
 */
import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import type { Issued } from './certificates.ts'
import { freePorts } from './ports.ts'
import { programPath } from './programs.ts'
import { makeTemporary } from './temporary.ts'
import { WireClient } from './wire-client.ts'

const START_MS = 20_000
const STOP_MS = 10_000

export interface PostfixOptions {
  readonly certificate: Issued
  /** Path of Dovecot's authentication socket. */
  readonly authSocket: string
  /** Port on loopback that mail is delivered to by LMTP. */
  readonly lmtpPort: number
}

export interface PostfixPorts {
  /** Plain, STARTTLS offered. Whoever comes here is trusted with nothing. */
  readonly starttls: number
  readonly implicit: number
  /** The same two where 127.0.0.1 is trusted with XCLIENT. */
  readonly xclientStarttls: number
  readonly xclientImplicit: number
  /** STARTTLS, and whoever's name is "localhost" is trusted with XCLIENT. */
  readonly namedStarttls: number
  /** The first two behind PROXY headers. */
  readonly proxiedStarttls: number
  readonly proxiedImplicit: number
}

export interface Postfix extends AsyncDisposable {
  readonly ports: PostfixPorts
  readonly pid: number
  log(): Promise<string>
  stop(): Promise<void>
}

export async function startPostfix(options: PostfixOptions): Promise<Postfix> {
  const temporary = await makeTemporary('postfix', 0o755)
  const root = temporary.path
  const [starttls = 0, implicit = 0, proxiedStarttls = 0, proxiedImplicit = 0, ...trusting] = await freePorts(7)
  const [xclientStarttls = 0, xclientImplicit = 0, namedStarttls = 0] = trusting
  const ports = { starttls, implicit, xclientStarttls, xclientImplicit, namedStarttls, proxiedStarttls, proxiedImplicit }
  for (const name of ['conf', 'queue', 'data']) await mkdir(join(root, name))
  spawnSync('chown', ['postfix', join(root, 'data')])
  await chmod(join(root, 'data'), 0o700)
  await writeFile(join(root, 'cert.pem'), options.certificate.cert)
  await writeFile(join(root, 'key.pem'), options.certificate.key, { mode: 0o600 })
  await writeFile(join(root, 'conf/main.cf'), mainCf(root, options))
  await writeFile(join(root, 'conf/master.cf'), masterCf(ports))

  const child = spawn(programPath('postfix'), ['-c', join(root, 'conf'), 'start-fg'], { stdio: ['ignore', 'pipe', 'pipe'] })
  const signal = (name: NodeJS.Signals): void => {
    child.kill(name)
    // A script stands between us and the master, which is in a process group of its own.
    const master = masterPid(root)
    if (master !== undefined) kill(master, name)
  }
  let complaints = ''
  const hear = (chunk: Buffer): void => void (complaints += chunk.toString('utf8'))
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  let over = false
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  void ended.then(() => (over = true))
  const killAtExit = (): void => signal('SIGTERM')
  process.once('exit', killAtExit)

  const log = async (): Promise<string> => {
    try {
      return await readFile(join(root, 'log'), 'utf8')
    } catch {
      // Nothing was written yet.
      return complaints
    }
  }
  const stop = async (): Promise<void> => {
    process.off('exit', killAtExit)
    signal('SIGTERM')
    const timer = systemClock.after(STOP_MS, () => signal('SIGKILL'))
    await ended
    timer.cancel()
    await temporary.remove()
  }
  const deadline = systemClock.now() + START_MS
  while (!(await greets(starttls))) {
    if (over || systemClock.now() > deadline) {
      const said = `${complaints}\n${await log()}`
      await stop()
      throw new Error(`Postfix did not start: ${said}`)
    }
    await systemClock.sleep(50)
  }
  return { ports, pid: masterPid(root) ?? 0, log, stop, [Symbol.asyncDispose]: stop }
}

/** Postfix's master; undefined: it hasn't written its number yet. */
function masterPid(root: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(root, 'queue/pid/master.pid'), 'utf8'))
    return Number.isInteger(pid) && pid > 0 ? pid : undefined
  } catch {
    // It was never started.
    return undefined
  }
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It is gone already.
  }
}

async function greets(port: number): Promise<boolean> {
  try {
    const client = await WireClient.connect({ port })
    await client.until(/^220 .*\r\n/)
    client.destroy()
    return true
  } catch {
    // Not yet: the caller asks again until its deadline.
    return false
  }
}

function mainCf(root: string, { authSocket, lmtpPort }: PostfixOptions): string {
  return `
compatibility_level = 3.6
queue_directory = ${root}/queue
data_directory = ${root}/data
maillog_file = ${root}/log
maillog_file_prefixes = ${root}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.example.com
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = example.com
virtual_mailbox_maps =
virtual_transport = lmtp:inet:127.0.0.1:${lmtpPort}
default_transport = error:this Postfix delivers nowhere else
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = ${authSocket}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = ${root}/cert.pem
smtpd_tls_key_file = ${root}/key.pem
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
`
}

function masterCf(ports: PostfixPorts): string {
  const inet = (name: keyof PostfixPorts): string => {
    const tls = name.endsWith('mplicit') ? ' -o smtpd_tls_wrappermode=yes' : ''
    const proxied = name.startsWith('proxied') ? ' -o smtpd_upstream_proxy_protocol=haproxy' : ''
    const trusted = name.startsWith('xclient') ? '127.0.0.1' : name.startsWith('named') ? 'localhost' : undefined
    const xclient = trusted === undefined ? '' : ` -o smtpd_authorized_xclient_hosts=${trusted}`
    return `127.0.0.1:${ports[name]} inet n - n - - smtpd${tls}${proxied}${xclient}`
  }
  const unix = ['cleanup unix n - n - 0 cleanup', 'qmgr unix n - n 300 1 qmgr', 'tlsmgr unix - - n 1000? 1 tlsmgr', 'rewrite unix - - n - - trivial-rewrite']
  const bounces = ['bounce', 'defer', 'trace'].map((name) => `${name} unix - - n - 0 bounce`)
  const others = ['proxymap', 'smtp', 'lmtp', 'error', 'scache', 'discard'].map((name) => `${name} unix - - n - - ${name}`)
  return [
    ...(['starttls', 'implicit', 'xclientStarttls', 'xclientImplicit', 'namedStarttls', 'proxiedStarttls', 'proxiedImplicit'] as const).map(inet),
    ...unix,
    ...bounces,
    ...others,
    'retry unix - - n - - error',
    'verify unix - - n - 1 verify',
    'flush unix n - n 1000? 0 flush',
    'anvil unix - - n - 1 anvil',
    'postlog unix-dgram n - n - 1 postlogd',
    '',
  ].join('\n')
}
