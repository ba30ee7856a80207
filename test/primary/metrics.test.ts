import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { Counters, NO_CACHE } from '../../src/observe/counters.ts'
import type { Counts } from '../../src/observe/counters.ts'
import { BUCKETS, count, noDurations } from '../../src/observe/durations.ts'
import { Metrics } from '../../src/primary/metrics.ts'
import type { Reading } from '../../src/primary/metrics.ts'
import type { Peer } from '../../src/primary/peers.ts'

const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8')

function reading(changes: Partial<Reading> = {}): Reading {
  const confirmations = { workers: noDurations(), peers: noDurations() }
  return {
    version: '1',
    instance: 'one',
    state: 'ready',
    startedAt: 5_000,
    counts: new Counters().counts(NO_CACHE, 0),
    processes: [],
    workersReady: 2,
    health: [],
    states: [],
    fleet: { bus: 'none', sequence: 0, peers: [], counters: undefined, confirmations, states: [] },
    watch: 'off',
    workerDeaths: 0,
    confirmations: [],
    listeners: [],
    ...changes,
  }
}

/** Sample lines by name and labels. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

function busy(accepted: number): Counts {
  const counters = new Counters()
  const leg = counters.leg('imap', 'old "server"\n')
  leg.accepted = accepted
  leg.sessions = 2
  leg.bytesOut = 99
  for (const ms of [1, 3, 3, 60_000]) count(leg.took, ms)
  counters.leg('imap', '').unavailable = 3
  counters.stage('imap', 'dial', 0.4)
  return counters.counts({ ...NO_CACHE, hits: 7, audited: 5, auditStale: 1 }, 4)
}

test('a scrape gives every number under its name, with labels that are quoted as they must be', async () => {
  const found = samples(await new Metrics().scrape(reading({ counts: busy(6) })))
  const of = (name: string) => found.get(name)
  assert.equal(of('signalbox_logins_total{protocol="imap",destination="old \\"server\\"\\n",outcome="accepted"}'), 6)
  assert.equal(of('signalbox_logins_total{protocol="imap",destination="",outcome="unavailable"}'), 3)
  assert.equal(of('signalbox_bytes_total{protocol="imap",destination="old \\"server\\"\\n",direction="out"}'), 99)
  assert.equal(of('signalbox_cache_hits_total'), 7)
  assert.deepEqual([of('signalbox_cache_audits_total{result="same"}'), of('signalbox_cache_audits_total{result="stale"}')], [4, 1])
  assert.deepEqual([of('signalbox_connections'), of('signalbox_ready'), of('signalbox_start_time_seconds')], [4, 1, 5])
  assert.equal(of('signalbox_info{name="one",version="1"}'), 1)
  assert.equal([...found.keys()].some((name) => name.includes('signalbox_bus_up') || name.includes('signalbox_watch_up')), false, 'absent without')
})

test('histograms are cumulated, end with all of them, and say their sum', async () => {
  const found = samples(await new Metrics().scrape(reading({ counts: busy(1) })))
  const labels = 'protocol="imap",destination="old \\"server\\"\\n"'
  const buckets = [...BUCKETS, '+Inf'].map((le) => found.get(`signalbox_login_duration_seconds_bucket{le="${le}",${labels}}`))
  assert.deepEqual(buckets, [0, 1, 1, ...new Array(BUCKETS.length - 3).fill(3), 4])
  assert.equal(found.get(`signalbox_login_duration_seconds_count{${labels}}`), 4)
  assert.ok(Math.abs((found.get(`signalbox_login_duration_seconds_sum{${labels}}`) ?? 0) - 60.007) < 1e-9)
  assert.equal(found.get('signalbox_stage_duration_seconds_count{protocol="imap",stage="dial"}'), 1)
})

test('a scrape shows its own reading alone: what is gone is not shown, and two at once do not mix', async () => {
  const metrics = new Metrics()
  const first = metrics.scrape(reading({ counts: busy(6), health: [{ destination: 'gone', consecutiveFailures: 1, failureSources: 1, hostLevelFailure: false, down: true, downUntil: 1 }] }))
  const second = metrics.scrape(reading({ state: 'draining' }))
  assert.equal(samples(await first).get('signalbox_destination_up{destination="gone"}'), 0)
  const text = await second
  assert.ok(!text.includes('"gone"') && !text.includes('old \\"'))
  assert.equal(samples(text).get('signalbox_ready'), 0)
})

test('peers are counted by state, and each has its lag', async () => {
  const peer = { instance: 'two', unacknowledged: 3, lostAt: undefined } as Peer
  const lost = { instance: 'three', unacknowledged: 9, lostAt: 1 } as Peer
  const counters = { gaps: 1, invalid: 2, repeated: 3, received: 4, sent: 5, doubts: 6 }
  const confirmations = { workers: noDurations(), peers: noDurations() }
  const found = samples(
    await new Metrics().scrape(reading({ fleet: { bus: 'up', sequence: 1, peers: [peer, lost], counters, confirmations, states: [] }, watch: 'unavailable' })),
  )
  const values = ['bus_up', 'bus_peers{state="live"}', 'bus_peers{state="lost"}', 'bus_lag{peer="two"}', 'bus_gaps_total', 'bus_frames_total{direction="out"}', 'watch_up']
  assert.deepEqual(values.map((name) => found.get(`signalbox_${name}`)), [1, 1, 1, 3, 1, 5, 0])
})

describe('docs', () => {
  const { described } = new Metrics()

  test('docs/metrics.md lists every metric with its type, its labels and what it means, and no other', async () => {
    const page = await read('docs/metrics.md')
    const rows = [...page.matchAll(/^\| `(signalbox_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$/gm)].map(([, name = '', type = '', labels = '', help = '']) => ({
      name,
      type,
      help,
      labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
    }))
    const byName = (one: { name: string }, other: { name: string }) => (one.name < other.name ? -1 : 1)
    assert.deepEqual(rows.toSorted(byName), described.map((one) => ({ ...one })).toSorted(byName))
    assert.ok(described.every(({ name, type }) => name.endsWith('_total') === (type === 'counter')))
  })

  test('every expression of the dashboard and of the page is made of metrics that exist, with labels that they have', async () => {
    const dashboard: unknown = JSON.parse(await read('docs/grafana-dashboard.json'))
    const expressions: string[] = []
    const collect = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return
      for (const [name, inner] of Object.entries(value)) {
        if (name === 'expr' && typeof inner === 'string') expressions.push(inner)
        else collect(inner)
      }
    }
    collect(dashboard)
    assert.ok(expressions.length > 20, 'the search finds them')
    const rules = /```promql\n([^`]+)```/.exec(await read('docs/metrics.md'))?.[1]?.trim().split('\n') ?? []
    assert.ok(rules.length > 3)
    const wrong: string[] = []
    for (const expression of [...expressions, ...rules]) {
      const names = [...expression.matchAll(/\bsignalbox_\w+/g)].map(([name]) => name)
      assert.ok(names.length > 0, expression)
      const used = names.map((name) => described.find((one) => one.name === name || (one.type === 'histogram' && `${one.name}_bucket` === name)))
      if (used.includes(undefined)) wrong.push(`${names.join()} in ${expression}`)
      const labels = new Set(['instance', 'job', 'le', ...used.flatMap((one) => one?.labels ?? [])])
      const matched = [...expression.matchAll(/[{,](\w+)[=!]~?"/g)].map(([, label = '']) => label)
      const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(', '))
      for (const label of [...matched, ...grouped]) if (!labels.has(label)) wrong.push(`${label} in ${expression}`)
    }
    assert.deepEqual(wrong, [])
    const shown = [...expressions].join(' ')
    const forgotten = described.filter(({ name }) => !shown.includes(name) && !/_(info|start_time_seconds)$|events_|frames_total|heap|loop_active/.test(name))
    assert.deepEqual(forgotten.map(({ name }) => name), [])
  })
})
