/**
 * Dovecot's services beyond IMAP, for tests of every protocol: each mail protocol on four ports (STARTTLS offered or TLS at
 * once, each bare and behind PROXY headers), LMTP on two. Plain logins are taken, so that a leg may go without TLS, and
 * loopback is trusted with XCLIENT, IMAP's ID and PROXY headers: what the log calls `rip` is then whom the proxy announced.
 */
import { freePorts } from './ports.ts'

export const LOGIN_PROTOCOLS = ['imap', 'pop3', 'sieve', 'submission'] as const
export type LoginService = (typeof LOGIN_PROTOCOLS)[number]

export interface LoginPorts {
  /** Plain, STARTTLS offered. */
  readonly starttls: number
  readonly implicit: number
  /** The same two behind PROXY headers. */
  readonly proxiedStarttls: number
  readonly proxiedImplicit: number
}

export interface ServicePorts {
  readonly login: Readonly<Record<LoginService, LoginPorts>>
  /** LMTP without TLS and with TLS from the first byte, bare and behind PROXY headers. */
  readonly lmtp: LoginPorts
}

const LOGIN_SERVICE: Readonly<Record<LoginService, string>> = {
  imap: 'imap-login',
  pop3: 'pop3-login',
  sieve: 'managesieve-login',
  submission: 'submission-login',
}

export async function servicePorts(): Promise<ServicePorts> {
  const ports = await freePorts(20)
  const four = (at: number): LoginPorts => {
    const [starttls = 0, implicit = 0, proxiedStarttls = 0, proxiedImplicit = 0] = ports.slice(at * 4, at * 4 + 4)
    return { starttls, implicit, proxiedStarttls, proxiedImplicit }
  }
  return { login: { imap: four(0), pop3: four(1), sieve: four(2), submission: four(3) }, lmtp: four(4) }
}

/** @param relay port of the SMTP server that submission hands its mail to; undefined: Dovecot takes no submission */
export function servicesText(ports: ServicePorts, relay: number | undefined, authSocket: string | undefined): string {
  const login = LOGIN_PROTOCOLS.filter((name) => name !== 'submission' || relay !== undefined)
  const services = login.map((name) => {
    return `service ${LOGIN_SERVICE[name]} {
  chroot =
  service_count = 0
  client_limit = 2000
${listeners(name, ports.login[name])}}
`
  })
  return `
protocols = ${login.join(' ')} lmtp
ssl = yes
disable_plaintext_auth = no
login_trusted_networks = 127.0.0.0/8
haproxy_trusted_networks = 127.0.0.0/8
submission_relay_host = 127.0.0.1
submission_relay_port = ${relay ?? 25}
submission_relay_trusted = yes
lmtp_save_to_detail_mailbox = no
postmaster_address = postmaster@example.com
${services.join('')}
service lmtp {
  chroot =
${listeners('lmtp', ports.lmtp)}}
${authSocket === undefined ? '' : `service auth {\n  unix_listener ${authSocket} {\n    mode = 0666\n  }\n}\n`}`
}

/** What Dovecot opens by itself, by the listeners' names. (IMAP's have ports of the test's own already.) */
const USUAL: Readonly<Record<string, readonly string[]>> = { pop3: ['pop3', 'pop3s'], sieve: ['sieve'], submission: ['submission'] }

function listeners(name: string, ports: LoginPorts): string {
  const off = (USUAL[name] ?? []).map((listener) => `  inet_listener ${listener} {\n    port = 0\n  }\n`)
  const on = (['starttls', 'implicit', 'proxiedStarttls', 'proxiedImplicit'] as const).map((kind) => {
    const ssl = kind.endsWith('mplicit') ? '    ssl = yes\n' : ''
    const haproxy = kind.startsWith('proxied') ? '    haproxy = yes\n' : ''
    return `  inet_listener ${name}_${kind} {\n    port = ${ports[kind]}\n${ssl}${haproxy}  }\n`
  })
  return [...off, ...on].join('')
}
