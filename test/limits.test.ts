/**
 * Every bound of src/limits.ts has a test that tries it where it lies, or is named here as one that has none. A new constant
 * fails this file until it has its line: beside the test that tries it at N and N + 1 (a time: just before and after), or, when
 * there can't be one yet, under NOT_PROVEN with what is missing.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import * as limits from '../src/limits.ts'

/** Test file (without test/ and .test.ts) → the constants that it tries by their names. */
const BY_NAME: Readonly<Record<string, readonly string[]>> = {
  'hostile/imap': ['IMAP_LINE', 'IMAP_LITERALS', 'IMAP_LITERAL_MINUS', 'SASL_LINE', 'PREAUTH_COMMANDS', 'PIPELINED_BEHIND_LOGIN'],
  'hostile/managesieve': ['MANAGESIEVE_LINE', 'MANAGESIEVE_LITERALS'],
  'hostile/submission': ['SMTP_LINE', 'HELO_NAME'],
  'protocol/pop3/preauth': ['POP3_LINE'],
  'protocol/pop3/backend': ['POP3_AUTH_LINE'],
  'protocol/submission/backend': ['SMTP_COMMAND'],
  'protocol/managesieve/backend': ['MANAGESIEVE_QUOTED'],
  'protocol/imap/fuzz': ['BACKEND_LINE', 'BACKEND_PREAMBLE'],
  'identity/token': ['TOKEN'],
  'identity/identifier': ['IDENTIFIER'],
  'session/preauth-memory': ['PREAUTH_CONNECTION'],
  'session/bridge': ['BRIDGE_BUFFER', 'KEEPALIVE_IDLE_MS', 'KEEPALIVE_INTERVAL_MS', 'KEEPALIVE_PROBES'],
  'session/session': ['LAST_WORDS_MS'],
  'session/sessions': ['KEEPALIVE_LOOK_MS', 'SESSIONS_LISTED'],
  'session/http/connection': ['HTTP_PIPELINED', 'HTTP_KEEPALIVE_MARGIN_MS'],
  'session/http/exchange': ['HTTP_LINGER_MS'],
  'session/http/pool': ['HTTP_BACKEND_IDLE_MS', 'HTTP_BACKENDS_IDLE'],
  'hostile/http-slow': ['HTTP2_HEAD_ROOM', 'HTTP2_SESSION_MIB'],
  'system/http-legs': ['HTTP2_STREAMS', 'HTTP2_STREAM_WINDOW', 'HTTP2_SESSION_WINDOW'],
  'listener/proxy-header': ['PROXY_HEADER'],
  'listener/inbound-proxy': ['PROXY_HEADER_WAIT_MS'],
  'listener/descriptors': ['DESCRIPTOR_RESERVE', 'WORKER_DESCRIPTORS'],
  'mapping/file/parser': ['MAPPING_LINE', 'MAPPING_MISTAKES'],
  'mapping/file/source': ['MAPPING_FILE', 'MAPPING_OVERLAY', 'RELOAD_DIFFERENCES'],
  'mapping/redis/lookup': ['MAPPING_VALUE', 'REDIS_REPLY'],
  'mapping/sql/pool': ['LOOKUPS_IN_FLIGHT'],
  'mapping/spool': ['MAPPING_BATCH'],
  'mapping/file/lock': ['SHARED_LOCK_STALE_MS', 'SHARED_LOCK_WAIT_MS'],
  'mapping/gathering': ['GATHER_MS'],
  'mapping/tally': ['SUMMARY_VALUES'],
  'mapping/waiting': ['RECONNECT_MIN_MS', 'RECONNECT_MAX_MS', 'WATCH_REFUSED_MS'],
  'mapping/redis/connection': ['REDIS_HANDSHAKE_MS'],
  'mapping/file/shared-conflicts': ['SHARED_TRIES'],
  'primary/bus-member': ['BUS_WELCOMES'],
  'primary/deaths': ['RESPAWN_MIN_MS', 'RESPAWN_MAX_MS', 'DEATHS_AT_START'],
  'primary/cutover': ['CUTOVER_LEASE_MARGIN_MS'],
  'management/sessions': ['DRAIN_SECONDS'],
  'observe/redaction': ['REDACTIONS_REMEMBERED'],
  'tls/openssl': ['TLS_TICKET_SECONDS'],
  'actor/actor': ['MAILBOX'],
  'actor/frame': ['FRAME'],
  'bus/frame': ['IDENTIFIERS_PER_FRAME', 'BUS_TEXT'],
  'bus/redis': ['BUS_BACKLOG'],
  'primary/peers': ['BUS_OWED'],
  'primary/strangers': ['BUS_STRANGERS'],
  'primary/worker-line': ['CHANGES_OWED'],
  'primary/vigil': ['WORKER_STALL_MS', 'WORKER_START_MS', 'WORKER_PING_MS'],
  'primary/acceptor': ['DESCRIPTORS_MS', 'HANDOVER_DEADLINE_MS'],
  'primary/tls-keeper': ['TICKET_KEYS_MS'],
  'resolver/generations': ['INVALIDATIONS_REMEMBERED', 'INVALIDATION_MEMORY_MS'],
  'resolver/resolver': ['LOOKUP_REPEATS', 'FAILED_LOOKUP_MS', 'SOURCE_PROBE_MS'],
  'resolver/failed-lookups': ['FAILED_LOOKUPS_REMEMBERED'],
  'worker/intake': ['ENDED_MS', 'HANDOVER_FRESH_MS'],
  'worker/counting': ['COUNTERS_MS', 'SESSIONS_SAMPLED'],
  'destination/dns': ['DNS_TTL_MS', 'DNS_STALE_WAIT_MS'],
  'destination/dialer': ['BACKEND_RETRY_MS'],
  'destination/connect': ['CONNECT_STAGGER_MS'],
  'destination/backend-tls': ['TLS_SESSION_MS', 'TLS_SESSIONS'],
  'tls/certificates': ['SNI_NAMES'],
  'tls/file-watch': ['CERTIFICATE_LOOK_MS', 'CERTIFICATE_PATIENCE_MS'],
  'management/requests': ['ADMIN_HEAD', 'ADMIN_BODY', 'ADMIN_REQUEST_MS'],
  'management/bulk': ['ADMIN_STREAM', 'ADMIN_BODY_SILENCE_MS', 'ADMIN_LINGER_MS', 'ADMIN_PROGRESS_MS'],
  'management/guard': ['LOCKOUT_ADDRESSES'],
  'management/server': ['ADMIN_CONNECTIONS', 'ADMIN_CONNECTIONS_PER_ADDRESS'],
  'management/events': ['EVENTS_LISTENERS'],
  'management/cutover': ['CUTOVER_FAILURES', 'CUTOVER_HOLD_SECONDS'],
  'cli/notify': ['NOTIFY_MS', 'NOTIFY_LOG_MS'],
  'observe/log': ['LOG_LINE'],
  'observe/destination': ['LOG_BLOCK', 'LOG_BUFFER', 'LOG_FLUSH_MS', 'LOG_END_MS', 'LOG_RETRY_MS'],
}

/** Constant → file and title of a test that tries it without its name: by its value as documented, or with one of its own. */
const BY_TITLE: Readonly<Record<string, readonly [file: string, title: string]>> = {
  IMAP_TAG: ['protocol/imap/preauth', 'empty lines, bad tags, tags alone'],
  BUS_PEERS: ['primary/bus-member', 'invented names fill a table of bounded size; who is known stays followed'],
  BUS_PATIENCE: ['primary/bus-member', 'a subscriber that never answers is waited for three heartbeats, not for ever'],
  BUS_STANDING_LOG_MS: ['primary/bus-member', 'however many lives the other claims to have had, it is told seldom, with how often it was heard'],
  HOLD_MS: ['resolver/resolver', 'a hold ends by itself, at the latest after two minutes, and can be prolonged'],
  DELAY_SECONDS: ['management/cutover', 'hold=121'],
  EVENTS_WAITING: ['observe/happenings', 'a slow reader keeps as many as its room holds, and is told how many it lost'],
  EVENTS_ALIVE_MS: ['management/events', 'a stream in which nothing happens says now and then that it lives'],
  CUTOVERS_AT_ONCE: ['management/many', 'all is worked off, so much at a time, and told in the order of completion'],
  ADMIN_HANDSHAKE_MS: ['management/https', 'a client that never begins its handshake is dropped'],
  ADMIN_HEAD_MS: ['management/https', 'a client that never sends a request, or half a head, is told 408 and dropped'],
  ADMIN_KEEPALIVE_MS: ['management/https', 'a connection without a further request is closed'],
  ADMIN_SILENCE_MS: ['management/https', 'a connection on which nothing moves is dropped even while an answer is awaited'],
  ADMIN_DRAIN_MS: ['management/server', 'destroy after close ends a drain that takes too long'],
  REFUSED_LOG_MS: ['worker/report', 'who came too often, every ten seconds and how often'],
  WATCH_SILENCE: ['mapping/redis/watch', 'a network that swallows everything is noticed by the silence'],
  REDIS_PUSH: ['bus/redis', 'a message beyond every frame costs a connection, not the memory'],
  DRAIN_DEFAULT_MS: ['session/sessions', 'a drain ends the sessions of its destination evenly over its time, and no others'],
  REVIEW_BATCH: ['session/review', 'accounts are looked up so many at a time'],
  REVIEW_STEP_MS: ['session/review', 'accounts are looked up so many at a time'],
  REVIEW_PAUSE_MS: ['session/review', 'what nobody could say is asked again, until somebody can, and only what was left'],
  DRAIN_STEP_MS: ['session/sessions', 'a drain ends the sessions of its destination evenly over its time, and no others'],
}

/** Constant → what a test would have to show. docs/security.md points here. */
const NOT_PROVEN: Readonly<Record<string, string>> = {
}

const text = (file: string): Promise<string> => readFile(new URL(`${file}.test.ts`, import.meta.url), 'utf8')

describe('the bounds of src/limits.ts', () => {
  it('each have a test, or are named as one that has none, and only once', () => {
    const listed = [...Object.values(BY_NAME).flat(), ...Object.keys(BY_TITLE), ...Object.keys(NOT_PROVEN)]
    assert.deepEqual(listed.filter((name, index) => listed.indexOf(name) !== index), [], 'listed twice')
    assert.deepEqual(Object.keys(limits).filter((name) => !listed.includes(name)), [], 'without a line in test/limits.test.ts')
    assert.deepEqual(listed.filter((name) => !(name in limits)), [], 'gone from src/limits.ts')
  })

  it('are tried where it is said', async () => {
    for (const [file, names] of Object.entries(BY_NAME)) {
      assert.ok(existsSync(new URL(`${file}.test.ts`, import.meta.url)), file)
      const source = (await text(file)).replace(/^import [^]*?from '.*'$/gm, '')
      for (const name of names) assert.match(source, new RegExp(`\\b${name}\\b`), `${file} does not use ${name}`)
    }
    for (const [name, [file, title]] of Object.entries(BY_TITLE)) assert.ok((await text(file)).includes(title), `${name}: ${file} has no "${title}"`)
  })
})
