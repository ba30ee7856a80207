/** What a worker's sessions and resolver tell the operator: from their values to the events of the log. */
import type { Clock } from '../clock.ts'
import type { SignalboxError } from '../errors.ts'
import { REFUSED_LOG_MS } from '../limits.ts'
import * as events from '../observe/events.ts'
import type { FrequentLines } from '../observe/frequent.ts'
import type { Logger } from '../observe/log.ts'
import type { Redactor } from '../observe/redaction.ts'
import { Seldom } from '../observe/seldom.ts'
import type { ResolverReport } from '../resolver/resolver.ts'
import type { HttpServices } from '../session/http/services.ts'
import type { LoginFacts, Reported, SessionReport } from '../session/services.ts'

/** What ends a connection before its login that an operator should look at, and how it is called. */
export const TURNED_AWAY: ReadonlyMap<string, string> = new Map([
  ['CLIENT_TOO_MANY_CONNECTIONS', 'address-full'],
  ['CLIENT_CROWDED_OUT', 'preauth-memory'],
  ['CLIENT_PROXY_HEADER', 'proxy-header'],
])
/** The account of a login that names none. */
const NO_ACCOUNT = '-'
/** Warnings about one value or account at most this often. */
const WARN_EVERY_MS = 60_000
const WARNINGS_REMEMBERED = 1_000

/** @param frequent writes the two lines of every session at less cost; undefined: the log itself does */
export function sessionReport(log: Logger, redact: Redactor, clock: Clock, frequent?: FrequentLines): SessionReport {
  // Who scans the port of a balancer's listener would fill the log.
  const refusals = new Seldom(clock, WARN_EVERY_MS)
  const crowds = new Seldom(clock, REFUSED_LOG_MS)
  const fields = ({ connection, profile }: Reported): events.SessionFields => ({
    session: connection.id,
    listener: profile.listener.name,
    protocol: profile.listener.protocol,
    client: connection.clientAddress,
  })
  /** Closed for something that an operator should look at. */
  const turnedAway = (session: Reported, error: SignalboxError): void => {
    const { session: _, ...about } = fields(session)
    const reason = TURNED_AWAY.get(error.code)
    if (reason === undefined) return
    const header = reason === 'proxy-header'
    const times = header ? refusals.times(`${about.listener} ${about.client}`) : crowds.times(`${about.listener} ${reason}`)
    if (times !== undefined) events.connectionRefused(log, { ...about, reason, times, ...(header ? { error } : {}) })
  }
  const account = (facts: LoginFacts) => (facts.account === undefined ? NO_ACCOUNT : redact(facts.account))
  return {
    accepted(session, facts) {
      if (frequent?.info === false) return
      const { mechanism, destination, route, secure, took } = facts
      const { connection: { id, clientAddress }, profile: { listener } } = session
      const about = {
        session: id,
        listener: listener.name,
        protocol: listener.protocol,
        client: clientAddress,
        account: account(facts),
        destination: destination ?? NO_ACCOUNT,
        mechanism,
        route: route?.source ?? 'store',
        tls: secure,
        seconds: seconds(took / 1000),
      }
      if (frequent === undefined) events.loginAccepted(log, about)
      else events.loginAcceptedOften(frequent, about)
    },
    passedThrough(session, facts) {
      events.passedThrough(log, {
        ...fields(session),
        destination: facts.destination ?? NO_ACCOUNT,
        tls: facts.secure,
        seconds: seconds(facts.took / 1000),
      })
    },
    refused(session, facts, reason = 'backend') {
      events.loginRefused(log, {
        ...fields(session),
        account: account(facts),
        ...(facts.destination === undefined ? {} : { destination: facts.destination }),
        ...(facts.mechanism === undefined ? {} : { mechanism: facts.mechanism }),
        reason,
        attempt: facts.attempt,
      })
    },
    unavailable(session, facts, error) {
      events.loginUnavailable(log, {
        ...fields(session),
        account: account(facts),
        ...(facts.destination === undefined ? {} : { destination: facts.destination }),
        error,
      })
    },
    closed(session, { reason, error, bytesIn, bytesOut, seconds: took, login }) {
      if (login === undefined) {
        if (error !== undefined) turnedAway(session, error)
        if (log.isLevelEnabled('debug')) events.connectionClosed(log, {
          ...fields(session),
          ...(session.requests === undefined ? undefined : { requests: session.requests }),
          seconds: seconds(took),
          reason: error === undefined ? reason : error.code,
        })
        return
      }
      if (frequent?.info === false) return
      const { connection: { id, clientAddress }, profile: { listener } } = session
      const about = {
        session: id,
        listener: listener.name,
        protocol: listener.protocol,
        client: clientAddress,
        account: account(login),
        destination: login.destination,
        bytes_in: bytesIn,
        bytes_out: bytesOut,
        seconds: seconds(took),
        reason,
      }
      if (frequent !== undefined && error === undefined) events.sessionClosedOften(frequent, about)
      else events.sessionClosed(log, error === undefined ? about : { ...about, error })
    },
  }
}

export function resolverReport(log: Logger, redact: Redactor, clock: Clock, source: string): ResolverReport {
  const warned = new Map<string, number>()
  let failingSince: number | undefined
  const mayWarn = (what: string): boolean => {
    const now = clock.now()
    if (now - (warned.get(what) ?? Number.NEGATIVE_INFINITY) < WARN_EVERY_MS) return false
    if (warned.size >= WARNINGS_REMEMBERED) warned.clear()
    warned.set(what, now)
    return true
  }
  return {
    undeclared(identifier, destination) {
      if (mayWarn(destination)) {
        events.mappingUndeclared(log, { account: redact(identifier), value: destination })
      }
    },
    auditStale(identifier, cached, stored) {
      events.auditStale(log, { account: redact(identifier), cached, stored })
    },
    sourceFailed(error: SignalboxError) {
      if (failingSince !== undefined) return
      failingSince = clock.now()
      events.sourceOutage(log, { source, error })
    },
    sourceAnswered() {
      if (failingSince === undefined) return
      events.sourceRecovered(log, { source, seconds: seconds((clock.now() - failingSince) / 1000) })
      failingSince = undefined
    },
  }
}

/** What an http listener tells of each request. */
export function requestReport(log: Logger, redact: Redactor): HttpServices['requested'] {
  return ({ account, destination, method, status, code, bytesIn, bytesOut, seconds: took, ...about }) => {
    // Requests come by the thousand: what nobody reads is not even put together.
    if (!log.isLevelEnabled('debug')) return
    events.requestDone(log, {
      ...about,
      protocol: 'http',
      account: account === undefined ? NO_ACCOUNT : redact(account),
      ...(destination === undefined ? {} : { destination }),
      method,
      ...(status === undefined ? {} : { status }),
      ...(code === undefined ? {} : { code }),
      bytes_in: bytesIn,
      bytes_out: bytesOut,
      seconds: seconds(took),
    })
  }
}

/** Milliseconds are as fine as a log needs it. */
function seconds(value: number): number {
  return Math.round(value * 1000) / 1000
}
