import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Config } from '../../src/config/config.ts'
import { planReload } from '../../src/primary/reload.ts'
import { testConfig, testDestination, testListener } from '../support/config.ts'

type Change = readonly [name: string, change: (config: Config) => Config]

/** Taken in by a reload. */
const TAKEN: readonly Change[] = [
  ['server.threads', (config) => ({ ...config, server: { ...config.server, threads: config.server.threads + 1 } })],
  ['server.log_level', (config) => ({ ...config, server: { ...config.server, logLevel: 'trace' } })],
  ['routing', (config) => ({ ...config, routing: { ...config.routing, masterUserSeparators: ['*'] } })],
  ['mapping', (config) => ({ ...config, mapping: { ...config.mapping, positiveTtl: 1, cacheMaxEntries: 7 } })],
  ['limits', (config) => ({ ...config, limits: { ...config.limits, maxConnectionsPerIp: 77 } })],
  ['oauth', (config) => ({ ...config, oauth: { jwtUsernameClaim: 'upn' } })],
  ['tls', (config) => ({ ...config, tls: { ...config.tls, minVersion: '1.3' } })],
  ['listener "new" added', (config) => ({ ...config, listeners: [...config.listeners, testListener({ name: 'new' })] })],
  ['destination "new" added', (config) => ({ ...config, destinations: [...config.destinations, testDestination({ name: 'new' })] })],
]
/** Left until a restart. */
const LEFT: readonly Change[] = [
  ['server.user', (config) => ({ ...config, server: { ...config.server, user: 'mail' } })],
  ['server.distribution', (config) => ({ ...config, server: { ...config.server, distribution: 'kernel' } })],
  ['mapping.source', (config) => ({ ...config, mapping: { ...config.mapping, source: 'redis' } })],
  ['cluster.instance', (config) => ({ ...config, cluster: { ...config.cluster, instance: 'another' } })],
  ['cluster.secret', (config) => ({ ...config, cluster: { ...config.cluster, secret: 'x'.repeat(16) } })],
]

const changes = fc.record({ taken: fc.subarray([...TAKEN]), left: fc.subarray([...LEFT]) })
const apply = (config: Config, all: readonly Change[]): Config => all.reduce((changed, [, change]) => change(changed), config)

describe('what a reload means', () => {
  test('of whatever changes: what can be taken in is, what needs a restart is named and left', () => {
    fc.assert(
      fc.property(changes, ({ taken, left }) => {
        const current = testConfig()
        const plan = planReload(current, apply(current, [...left, ...taken]))
        assert.deepEqual(plan.config, apply(current, taken))
        assert.deepEqual(new Set(plan.changed), new Set(taken.map(([name]) => name)))
        assert.deepEqual(new Set(plan.restart), new Set(left.map(([name]) => name)))
      }),
    )
  })

  test('the same file once more changes nothing, and still names what needs a restart', () => {
    fc.assert(
      fc.property(changes, ({ taken, left }) => {
        const current = testConfig()
        const next = apply(current, [...taken, ...left])
        const first = planReload(current, next)
        const second = planReload(first.config, next)
        assert.deepEqual(second.changed, [])
        assert.deepEqual(second.config, first.config)
        assert.deepEqual(second.restart, first.restart)
        // And back again.
        const back = planReload(first.config, current)
        assert.deepEqual([back.config, back.restart], [current, []])
      }),
    )
  })

  test('listeners and destinations are compared by name', () => {
    const current = testConfig({ listeners: [testListener({ name: 'a' }), testListener({ name: 'b' }), testListener({ name: 'c' })] })
    const next = { ...current, listeners: [testListener({ name: 'd' }), testListener({ name: 'c' }), testListener({ name: 'b', maxConnections: 1 })] }
    const { listeners, changed } = planReload(current, next)
    assert.deepEqual(listeners, { added: ['d'], changed: ['b'], removed: ['a'] })
    assert.deepEqual(changed, ['listener "d" added', 'listener "b"', 'listener "a" removed'])
  })

  test('keys of the source stay, as the file writes them; its times and its cache are taken in', () => {
    const file = { path: '/a', watch: false, shared: false }
    const base = testConfig()
    const current = { ...base, mapping: { ...base.mapping, source: 'file' as const, file } }
    const next = { ...current, mapping: { ...current.mapping, settle: 9, lookupTimeout: 9, file: { path: '/b', watch: true, shared: false } } }
    const { config, restart } = planReload(current, next)
    assert.deepEqual(restart, ['mapping.file.path', 'mapping.file.watch'])
    assert.deepEqual(config.mapping, { ...current.mapping, settle: 9, lookupTimeout: 9 })
  })

  test('the patience with a store belongs to its connection', () => {
    const base = testConfig()
    const sql = { url: 'sqlite:///a', query: 'q', poolSize: 1, upsertQuery: undefined, deleteQuery: undefined, listQuery: undefined, ca: undefined, listen: undefined }
    const current = { ...base, mapping: { ...base.mapping, source: 'sql' as const, file: undefined, sql } }
    const next = { ...current, mapping: { ...current.mapping, lookupTimeout: 1, negativeTtl: 1, sql: { ...sql, poolSize: 2 } } }
    const { config, restart } = planReload(current, next)
    assert.deepEqual(restart, ['mapping.lookup_timeout', 'mapping.sql.pool_size'])
    assert.deepEqual(config.mapping, { ...current.mapping, negativeTtl: 1 })
  })

  test('of the management only the certificate is taken in, and only one that there is', () => {
    const base = testConfig()
    const admin = {
      bind: { host: '127.0.0.1', port: 1, family: 4 as const, text: '127.0.0.1:1' },
      token: 'x'.repeat(32),
      lockoutThreshold: 5,
      lockoutDuration: 1,
      certificate: undefined,
      metricsOpen: false,
    }
    const certificate = { name: 'b', certPath: '', keyPath: '', cert: '', key: '', subjects: [], subjectsSet: false, default: false }
    const current = { ...base, admin }
    const tls = { ...base.tls, certificates: [certificate] }
    const { config, restart, changed } = planReload(current, { ...current, tls, admin: { ...admin, token: 'y'.repeat(32), certificate: 'b' } })
    assert.deepEqual([config.admin, restart, changed], [{ ...admin, certificate: 'b' }, ['admin.bearer_token'], ['tls', 'admin']])
    // The table is gone from the file, and so is the certificate.
    const gone = planReload(config, { ...base, admin: undefined })
    assert.deepEqual([gone.config.admin, gone.restart], [admin, ['admin']])
  })

  test('workers are replaced where they have something from their start that would be wrong', () => {
    const base = testConfig()
    const kernel = { ...base, server: { ...base.server, distribution: 'kernel' as const } }
    const redis = { ...base, mapping: { ...base.mapping, source: 'redis' as const } }
    const more = (config: Config): Config => ({ ...config, server: { ...config.server, threads: 9 } })
    const listener = (config: Config): Config => ({ ...config, listeners: [...config.listeners, testListener({ name: 'new' })] })
    const limits = (config: Config): Config => ({ ...config, limits: { ...config.limits, preauthBuffer: 1 } })
    const rolls = [base, kernel, redis].map((config) => [more, listener, limits].map((change) => planReload(config, change(config)).roll))
    assert.deepEqual(rolls, [[false, false, false], [true, true, false], [true, false, false]])
  })
})
