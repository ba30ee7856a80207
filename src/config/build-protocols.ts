/** Capabilities and http routes, as data. */
import type { CapabilitiesConfig, HttpConfig, HttpRouteConfig, Mechanism } from './config.ts'
import { MECHANISMS } from './schema-capabilities.ts'
import { EXTRACT_FROM } from './schema-http.ts'
import type { Section } from './section.ts'
import { duration, flag, number, sure } from './sure.ts'
import type { Tables } from './tables.ts'

interface Common {
  readonly sasl: readonly Mechanism[]
  readonly allowPlainAuthWithoutTls: boolean
  readonly banner: string
}

export function buildCapabilities(tables: Tables): CapabilitiesConfig {
  const imap = tables.one('capabilities.imap')
  const pop3 = tables.one('capabilities.pop3')
  const submission = tables.one('capabilities.submission')
  const sieve = tables.one('capabilities.managesieve')
  return {
    imap: { ...common(imap), advertise: sure(imap.texts('advertise'), imap, 'advertise'), id: imap.pairs('id') ?? [] },
    pop3: { ...common(pop3), capa: sure(pop3.texts('capa'), pop3, 'capa') },
    submission: { ...common(submission), ehlo: sure(submission.texts('ehlo'), submission, 'ehlo') },
    managesieve: {
      ...common(sieve),
      sieve: sure(sieve.texts('sieve'), sieve, 'sieve'),
      implementation: sure(sieve.text('implementation'), sieve, 'implementation'),
    },
  }
}

export function buildHttp(tables: Tables): HttpConfig {
  const http = tables.one('http')
  return {
    routes: tables.all('http.route[]').map((route) => buildRoute(route, tables)),
    bodyExtractCap: sure(http.size('body_extract_cap'), http, 'body_extract_cap'),
    maxHeadSize: sure(http.size('max_head_size'), http, 'max_head_size'),
    relayIdle: duration(http, 'relay_idle'),
    keepaliveTimeout: duration(http, 'keepalive_timeout'),
    maxKeepaliveRequests: number(http, 'max_keepalive_requests'),
  }
}

function buildRoute(route: Section, tables: Tables): HttpRouteConfig {
  const extract = tables.all('http.route[].extract').find((candidate) => candidate.names[0] === route.names[0])
  return {
    match: sure(route.text('match'), route, 'match'),
    destination: route.text('destination'),
    extract: extract?.present === true ? buildExtract(extract) : undefined,
    fallback: route.text('fallback'),
  }
}

function buildExtract(extract: Section): NonNullable<HttpRouteConfig['extract']> {
  const from = sure(extract.choice('from', EXTRACT_FROM), extract, 'from')
  switch (from) {
    case 'authorization':
      return { from }
    case 'query':
      return { from, param: sure(extract.text('param'), extract, 'param') }
    case 'header':
      return { from, header: sure(extract.text('header'), extract, 'header').toLowerCase() }
    case 'body':
      return { from, regex: sure(extract.text('regex'), extract, 'regex') }
  }
}

function common(section: Section): Common {
  return {
    sasl: sure(section.texts('sasl'), section, 'sasl').flatMap(
      (name) => MECHANISMS.find((known) => known === name) ?? [],
    ),
    allowPlainAuthWithoutTls: flag(section, 'allow_plain_auth_without_tls'),
    banner: sure(section.text('banner'), section, 'banner'),
  }
}
