/**
 * Another configuration for an instance at work: listeners, destinations, certificates, capabilities, workers, by request
 * and by signal, while clients log in. What must hold: no login is refused and no session is cut, and what can't be used
 * changes nothing at all.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { freePorts } from '../support/ports.ts'
import { Rig } from '../support/rig.ts'
import type { RigConfig, RigOptions } from '../support/rig.ts'
import type { AdminAnswer } from '../support/signalbox.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const OPEN = { imap: { allow_plain_auth_without_tls: true } }

describe('another configuration', () => {
  let one: StubImap
  let two: StubImap
  let rig: Rig
  let config: Record<string, Record<string, unknown>>
  const clients: WireClient[] = []

  before(async () => {
    one = await StubImap.start({ name: 'one', tls: 'plain' })
    two = await StubImap.start({ name: 'two', tls: 'plain' })
  })
  after(async () => {
    await one.stop()
    await two.stop()
  })
  beforeEach(async () => {
    await begin()
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy()
    await rig.stop()
  })

  async function begin(options: Partial<RigOptions> = {}): Promise<void> {
    rig = await Rig.start({
      destinations: { one: { port: one.port, tls: 'plain' }, two: { port: two.port, tls: 'plain' } },
      mappings: { 'ann@example.com': 'two' },
      tables: { capabilities: OPEN },
      ...options,
    })
    config = structuredClone(rig.config)
  }

  async function reload(next: RigConfig | string = config): Promise<AdminAnswer> {
    await rig.rewrite(next)
    return rig.admin.request('POST', '/config/reload')
  }

  /** A reload that must succeed; gives its answer. */
  async function reloaded(next: RigConfig = config): Promise<{ changed: string[]; restart: string[]; note: string; workers: number }> {
    const answer = await reload(next)
    assert.equal(answer.status, 200, answer.body)
    const json = answer.json as { reloaded: boolean; changed: string[]; restart: string[]; note: string; workers: number; workers_expected: number }
    assert.equal(json.reloaded, true)
    assert.equal(json.workers, json.workers_expected)
    return json
  }

  async function login(port: number, user = 'bob@example.com'): Promise<WireClient> {
    const client = await WireClient.connect({ port })
    clients.push(client)
    await client.until(/^\* OK .*\r\n/)
    const answer = await client.command(`a LOGIN ${user} secret`)
    assert.match(answer, /^a OK/m)
    return client
  }

  /** Logs in again and again until it is stopped, some at a time; gives how many succeeded and what went wrong. */
  function load(port: number, users: readonly string[] = ['bob@example.com', 'ann@example.com']): { stop(): Promise<{ served: number; errors: string[] }> } {
    const over = new AbortController()
    let served = 0
    const errors: string[] = []
    const runs = Array.from({ length: 6 }, async (_, index) => {
      while (!over.signal.aborted) {
        try {
          const client = await WireClient.connect({ port })
          try {
            await client.until(/^\* OK .*\r\n/)
            const answer = await client.command(`a LOGIN ${users[index % users.length]} secret`)
            if (/^a OK/m.test(answer)) served++
            else errors.push(answer)
          } finally {
            client.destroy()
          }
        } catch (error) {
          errors.push(String(error))
        }
      }
    })
    return {
      async stop() {
        over.abort()
        await Promise.all(runs)
        return { served, errors }
      },
    }
  }

  async function refusesConnections(port: number): Promise<void> {
    await assert.rejects(WireClient.connect({ port }), /ECONNREFUSED/)
  }

  it('that is the same changes nothing', async () => {
    const { changed, restart, note } = await reloaded()
    assert.deepEqual([changed, restart, note], [[], [], 'Nothing has changed.'])
  })

  it("moves a listener's port and opens another, while sessions go on and nobody is refused", async () => {
    const session = await login(rig.imap)
    const logins = load(rig.imap)
    const [moved = 0, more = 0] = await freePorts(2)
    config['listener'] = {
      ...config['listener'],
      imaps: { ...(config['listener']?.['imaps'] as object), bind: [`127.0.0.1:${moved}`] },
      more: { ...(config['listener']?.['imap'] as object), bind: [`127.0.0.1:${more}`] },
    }
    const { changed } = await reloaded()
    assert.deepEqual(changed, ['listener "more" added', 'listener "imaps"'])
    await refusesConnections(rig.imaps)
    const client = await WireClient.connect({ port: moved, ca: rig.authority.cert })
    clients.push(client)
    await client.until(/^\* OK .*\r\n/)
    await login(more)
    assert.match(await session.command('b NOOP'), /this is one/)
    const { served, errors } = await logins.stop()
    assert.deepEqual(errors, [])
    assert.ok(served > 0)
  })
})
