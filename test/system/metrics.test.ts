import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Rig } from '../support/rig.ts'
import { StubImap } from '../support/stub-imap.ts'
import type { WireClient } from '../support/wire-client.ts'

/** Sample lines by name and labels. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

/** The sum of all series of a metric. */
function total(of: Map<string, number>, name: string, label = ''): number {
  return [...of].reduce((sum, [series, value]) => (series.startsWith(`${name}{`) && series.includes(label) ? sum + value : sum), 0)
}

describe('GET /metrics', () => {
  let older: StubImap
  let newer: StubImap
  let rig: Rig
  const clients: WireClient[] = []

  before(async () => {
    older = await StubImap.start({ name: 'old', tls: 'plain' })
    newer = await StubImap.start({ name: 'new', tls: 'plain' })
    rig = await Rig.start({
      destinations: { old: { port: older.port, tls: 'plain' }, new: { port: newer.port, tls: 'plain' } },
      mappings: { 'b@example.com': 'new' },
      tables: { limits: { auth_failure_delay: '10ms' }, server: { threads: 2 } },
    })
  })
  after(async () => {
    for (const client of clients) client.destroy()
    await (rig as Rig | undefined)?.stop()
    await Promise.all([older.stop(), newer.stop()])
  })

  const scrape = async () => {
    const { status, body, headers } = await rig.admin.request('GET', '/metrics')
    assert.equal(status, 200, body)
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
    return samples(body)
  }
  const login = async (user: string) => {
    const client = await rig.greeted()
    clients.push(client)
    client.send(`a LOGIN ${user} secret\r\n`)
    await client.until(/^a (OK|NO) .*\r\n/m)
    return client
  }

  test('logins, sessions, bytes and stages of all workers are in the sums', async () => {
    for (let times = 0; times < 6; times++) await login('a@example.com')
    const client = await login('b@example.com')
    client.send('b NOOP\r\n')
    await client.until(/^b OK/m)
    const now = await scrape()
    assert.equal(total(now, 'signalbox_logins_total', 'outcome="accepted"'), 7)
    assert.equal(now.get('signalbox_sessions{protocol="imap",destination="new"}'), 1)
    assert.equal(now.get('signalbox_sessions{protocol="imap",destination="old"}'), 6)
    assert.equal(now.get('signalbox_connections'), 7)
    assert.equal(now.get('signalbox_bytes_total{protocol="imap",destination="new",direction="in"}'), 8)
    for (const stage of ['preauth', 'resolve', 'dial', 'replay']) {
      assert.equal(now.get(`signalbox_stage_duration_seconds_count{protocol="imap",stage="${stage}"}`), 7, stage)
    }
    assert.equal(now.get('signalbox_workers'), 2)
    assert.ok((now.get('signalbox_process_cpu_seconds_total{process="primary",mode="user"}') ?? 0) > 0)
    assert.equal([...now.keys()].filter((name) => name.startsWith('signalbox_process_heap_bytes')).length, 3)
  })

  test('what a worker had counted is in the sums after it was killed; its sessions are not', async () => {
    const before = await scrape()
    const killed = rig.box.lines.find(({ event }) => event === 'worker_ready')
    process.kill(Number(killed?.['pid']), 'SIGKILL')
    await rig.box.line(({ event, worker }) => event === 'worker_ready' && worker === 3)
    const now = await scrape()
    assert.equal(total(now, 'signalbox_logins_total'), total(before, 'signalbox_logins_total'))
    assert.equal(total(now, 'signalbox_bytes_total'), total(before, 'signalbox_bytes_total'))
    assert.ok(total(now, 'signalbox_sessions') < total(before, 'signalbox_sessions'))
    assert.equal(now.get('signalbox_worker_deaths_total'), 1)
    assert.equal([...now.keys()].some((name) => name.includes(`process="worker ${String(killed?.['worker'])}"`)), false)
  })

  test('a login that cannot be tried is counted with its code and without an account', async () => {
    const { body } = await rig.admin.request('GET', '/metrics')
    assert.ok(!body.includes('example.com'))
    await older.stop()
    const failed = await login('c@example.com')
    failed.destroy()
    const now = await scrape()
    assert.equal(now.get('signalbox_login_failures_total{code="BACKEND_CONNECT"}'), 1)
    assert.equal(now.get('signalbox_logins_total{protocol="imap",destination="old",outcome="unavailable"}'), 1)
    assert.equal(now.get('signalbox_destination_consecutive_failures{destination="old"}'), 1)
  })
})
