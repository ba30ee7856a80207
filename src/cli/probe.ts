/**
 * `signalbox check --probe FILE`: connects to every leg of every destination as a session would (TLS, PROXY header), up to
 * where the login would be repeated, reads what the backend says it can do, and holds the configuration against it. No
 * credential is sent. What is told to clients before a login must be true of every destination: the intersection is printed
 * as the lines to put into the configuration, and whatever is claimed beyond it.
 *
 * It also finds servers that trust the proxy with XCLIENT where its clients would inherit that: submission legs are led
 * through XCLIENT as far as a session would be, and the server behind SMTP pass-through is asked what it offers.
 */
import { systemClock } from '../clock.ts'
import type { Config, DestinationConfig, LegConfig, ProtocolName } from '../config/config.ts'
import { BackendDialer } from '../destination/dialer.ts'
import { proxyHeader } from '../destination/proxy-header.ts'
import { asSignalboxError } from '../errors.ts'
import type { ClientAnnouncement, LoginProtocol } from '../protocol/protocol.ts'
import { protocols } from '../protocol/registry.ts'
import { askSmtp, givesAway } from './probe-smtp.ts'
import { plain } from './terminal.ts'

/** Nobody: a PROXY header says LOCAL of it. */
const NOBODY: ClientAnnouncement = {
  clientAddress: '',
  clientPort: 0,
  localAddress: '',
  localPort: 0,
  session: 'probe',
  ttl: 1,
  clientTls: undefined,
}

/** One leg, as it was found. */
export interface Probed {
  readonly destination: string
  readonly protocol: ProtocolName
  readonly port: number
  /** What the backend says, as written; undefined: it couldn't be asked. */
  readonly capabilities: readonly string[] | undefined
  /** Why not. */
  readonly error: string | undefined
}

/** What came of a protocol over all destinations that have a leg for it. */
export interface Verdict {
  readonly protocol: ProtocolName
  /** The configuration's key. */
  readonly key: string
  /** What every destination offers, as the first of them writes it. */
  readonly common: readonly string[]
  /** What is claimed, and the destinations of which it isn't true. */
  readonly untrue: readonly { readonly name: string; readonly of: readonly string[] }[]
  /** Mechanisms of which a login can't be repeated at some destination. */
  readonly unfit: readonly { readonly name: string; readonly of: readonly string[] }[]
}

/**
 * @returns the exit status: 0 all claims are true, 1 one isn't, or a destination couldn't be asked
 */
export async function probe(config: Config, out: (text: string) => void): Promise<0 | 1> {
  const dialer = dialerFor(config)
  const [probed, passed] = await Promise.all([ask(config, dialer), askPassthrough(config, dialer)])
  let sound = true
  for (const protocol of protocols) {
    if (protocol.kind !== 'login') continue
    const legs = probed.filter((leg) => leg.protocol === protocol.name)
    if (legs.length === 0) continue
    const served = config.listeners.some((listener) => listener.protocol === protocol.name)
    out(`${protocol.name}${served ? '' : ' (no listener serves it)'}\n`)
    for (const leg of legs) out(`  ${leg.destination} (port ${leg.port}): ${plain(leg.capabilities?.join(', ') ?? `not asked: ${leg.error ?? ''}`)}\n`)
    const verdict = judge(protocol, config, legs)
    for (const line of verdictLines(verdict)) out(`  ${plain(line)}\n`)
    if (legs.some(({ error }) => error !== undefined)) sound = false
    if (served && verdict.untrue.length + verdict.unfit.length > 0) sound = false
  }
  if (passed !== undefined) {
    const { destination, leg, keywords, error } = passed
    const served = config.listeners.some((listener) => listener.protocol === 'smtp')
    out(`smtp${served ? '' : ' (no listener serves it)'}\n`)
    out(`  ${destination} (port ${leg.port}): ${plain(keywords?.join(', ') ?? `not asked: ${error ?? ''}`)}\n`)
    const given = keywords !== undefined && givesAway(leg, keywords)
    if (given) out(`  ${plain(GIVEN(destination))}\n`)
    if (error !== undefined || (served && given)) sound = false
  }
  return sound ? 0 : 1
}

/** What an open relay is called. */
const GIVEN = (destination: string): string =>
  `${destination} trusts this proxy with XCLIENT, and whoever connects to the smtp listener inherits that: anybody can pass for any user of it. ` +
  'Authorize the proxy on the submission port only, or set forwarding = "proxy" for smtp'

function dialerFor(config: Config): BackendDialer {
  return new BackendDialer({
    server: config.server,
    clock: systemClock,
    destinations: config.destinations,
    report: () => {},
    preamble: ({ leg }) => (leg.forwarding === 'proxy' ? proxyHeader(NOBODY) : undefined),
  })
}

interface Passed {
  readonly destination: string
  readonly leg: LegConfig
  /** What the server offers; undefined: it couldn't be asked. */
  readonly keywords: readonly string[] | undefined
  readonly error: string | undefined
}

/** Asks the server behind SMTP pass-through; undefined: there is none. */
async function askPassthrough(config: Config, dialer: BackendDialer): Promise<Passed | undefined> {
  const destination = config.destinations.find(({ name }) => name === config.routing.smtpPassthroughDestination)
  const leg = destination?.legs.smtp
  if (destination === undefined || leg === undefined) return undefined
  const about = { destination: destination.name, leg }
  try {
    return { ...about, keywords: await askSmtp(dialer, destination, leg, NOBODY), error: undefined }
  } catch (thrown) {
    return { ...about, keywords: undefined, error: described(thrown) }
  }
}

/** Asks every leg that carries logins, all at once. */
async function ask(config: Config, dialer: BackendDialer): Promise<readonly Probed[]> {
  const questions = config.destinations.flatMap((destination) =>
    protocols.flatMap((protocol) => {
      const leg = destination.legs[protocol.name]
      return protocol.kind === 'login' && leg !== undefined ? [askLeg(dialer, destination, leg, protocol)] : []
    }),
  )
  return Promise.all(questions)
}

async function askLeg(dialer: BackendDialer, destination: DestinationConfig, leg: LegConfig, protocol: LoginProtocol): Promise<Probed> {
  const about = { destination: destination.name, protocol: protocol.name, port: leg.port }
  try {
    // An announcement is a session's business: it would be about nobody. Only in submission does it matter whether it is taken.
    const mute = leg.forwarding === 'xclient' && protocol.name !== 'submission'
    const silent: LegConfig = mute ? { ...leg, forwarding: 'none' } : leg
    const request = { destination, leg: silent, protocol, client: NOBODY, facts: {} }
    const backend = await dialer.dial(request, new AbortController().signal)
    const { capabilities } = backend
    backend.destroy()
    return { ...about, capabilities, error: undefined }
  } catch (thrown) {
    return { ...about, capabilities: undefined, error: described(thrown) }
  }
}

function described(thrown: unknown): string {
  const error = asSignalboxError(thrown)
  return `${error.code}: ${error.message}`
}

/** Holds a protocol's part of the configuration against what its destinations said. Those that said nothing are left out. */
export function judge({ name, claims }: LoginProtocol, config: Config, legs: readonly Probed[]): Verdict {
  const answered = legs.flatMap(({ destination, capabilities }) => (capabilities === undefined ? [] : [{ destination, capabilities }]))
  const offers = answered.map(({ destination, capabilities }) => {
    const names = claims.offered(capabilities)
    return { destination, names, upper: upperCase(names), mechanisms: upperCase(claims.mechanisms(capabilities)) }
  })
  const lacking = (has: (offer: (typeof offers)[number]) => boolean): string[] => offers.filter((offer) => !has(offer)).map(({ destination }) => destination)
  const untrue = claims.claimed(config.capabilities).map((claim) => ({ name: claim, of: lacking(({ upper }) => upper.has(claim.toUpperCase())) }))
  const { sasl } = config.capabilities[name]
  const unfit = sasl.map((mechanism) => ({ name: mechanism, of: lacking(({ mechanisms }) => fits(mechanism, mechanisms)) }))
  const [first, ...rest] = offers
  return {
    protocol: name,
    key: claims.key,
    common: [...new Set(first?.names)].filter((candidate) => rest.every(({ upper }) => upper.has(candidate.toUpperCase()))),
    untrue: untrue.filter(({ of }) => of.length > 0),
    unfit: unfit.filter(({ of }) => of.length > 0),
  }
}

/** A password is repeated in whatever way a backend takes it; a token only as it came. */
function fits(mechanism: string, offered: ReadonlySet<string>): boolean {
  if (mechanism !== 'PLAIN' && mechanism !== 'LOGIN') return offered.has(mechanism)
  return offered.has('PLAIN') || offered.has('LOGIN') || offered.has('PASSWORD')
}

function upperCase(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.map((name) => name.toUpperCase()))
}

function verdictLines({ key, common, untrue, unfit }: Verdict): string[] {
  const table = key.slice(0, key.lastIndexOf('.'))
  const short = key.slice(table.length + 1)
  return [
    `common to all: [${table}] ${short} = [${common.map((name) => JSON.stringify(name)).join(', ')}]`,
    ...untrue.map(({ name, of }) => `${key} claims ${name}, which is not true of ${of.join(', ')}`),
    ...unfit.map(({ name, of }) => `${table}.sasl offers ${name}, which ${of.join(', ')} can't take`),
  ]
}
