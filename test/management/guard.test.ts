import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { addressKey, addressText } from '../../src/listener/address.ts'
import { Lockout } from '../../src/management/lockout.ts'
import { tokenCheck } from '../../src/management/token.ts'
import { LOCKOUT_ADDRESSES } from '../../src/limits.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { TestManagement } from '../support/management.ts'

describe('the token', () => {
  const check = (...headers: string[]) => tokenCheck('t0ken-é').check(headers)
  const sent = Buffer.from('t0ken-é', 'utf8').toString('latin1')

  test('the right one is right, in any spelling of the scheme', () => {
    for (const scheme of ['Bearer ', 'bearer ', 'BEARER   ']) assert.equal(check(scheme + sent), 'right')
  })

  test('anything else is told apart as missing, malformed or wrong', () => {
    assert.equal(check(), 'missing')
    for (const header of ['', 'Bearer', 'Bearer ', 'Basic dTpw', `Bearer${sent}`, `Bearer ${sent} ${sent}`, sent]) {
      assert.equal(check(header), 'malformed', header)
    }
    assert.equal(check(`Bearer ${sent}`, `Bearer ${sent}`), 'malformed')
    for (const token of ['t0ken-', `${sent}x`, 'T0KEN-é', 't0ken-e', 'x'.repeat(10_000)]) assert.equal(check(`Bearer ${token}`), 'wrong')
  })

  test('no character of the configured token is lost before the comparison', () => {
    assert.equal(tokenCheck('\u0141').check(['Bearer A']), 'wrong')
    assert.equal(tokenCheck('\u0141').check([`Bearer ${Buffer.from('\u0141').toString('latin1')}`]), 'right')
  })

  test('digests of equal length are compared in constant time, and nothing else is', async () => {
    const source = (await readFile(new URL('../../src/management/token.ts', import.meta.url), 'utf8')).replace(/\/\*\*[^]*?\*\//g, '')
    assert.match(source, /return timingSafeEqual\(digest\(Buffer\.from\(found, 'latin1'\)\), expected\)/)
    assert.match(source, /const expected = digest\(/)
    assert.match(source, /createHash\('sha256'\)/)
    assert.doesNotMatch(source, /found ===? [^u]|=== token|\.compare\(|\.equals\(|startsWith/)
  })
})

describe('the lockout', () => {
  const make = (options: Partial<ConstructorParameters<typeof Lockout>[0]> = {}) => {
    const clock = new FakeClock()
    return { clock, lockout: new Lockout({ clock, threshold: 3, duration: 60_000, ...options }) }
  }

  test('the failure that reaches the threshold locks for the duration, to the millisecond', () => {
    const { clock, lockout } = make()
    assert.deepEqual([lockout.failed('192.0.2.1'), lockout.failed('192.0.2.1')].map(({ locked }) => locked), [false, false])
    assert.equal(lockout.remaining('192.0.2.1'), 0)
    assert.deepEqual(lockout.failed('192.0.2.1'), { failures: 3, locked: true })
    assert.equal(lockout.remaining('192.0.2.1'), 60)
    assert.equal(lockout.remaining('192.0.2.2'), 0)
    clock.advance(59_999)
    assert.equal(lockout.remaining('192.0.2.1'), 1)
    clock.advance(1)
    assert.equal(lockout.remaining('192.0.2.1'), 0)
    assert.equal(lockout.failed('192.0.2.1').failures, 1)
  })

  test('failures further apart than the duration are not added up', () => {
    const { clock, lockout } = make()
    lockout.failed('192.0.2.1')
    clock.advance(60_000)
    assert.equal(lockout.failed('192.0.2.1').failures, 1)
    clock.advance(59_999)
    assert.equal(lockout.failed('192.0.2.1').failures, 2)
  })

  test('a success clears the count', () => {
    const { lockout } = make()
    lockout.failed('192.0.2.1')
    lockout.failed('192.0.2.1')
    lockout.succeeded('192.0.2.1')
    assert.equal(lockout.failed('192.0.2.1').failures, 1)
  })

  test('a threshold of 0 never locks', () => {
    const { lockout } = make({ threshold: 0 })
    for (let i = 0; i < 100; i++) assert.equal(lockout.failed('192.0.2.1').locked, false)
  })

  test('IPv6 counts by /64, mapped IPv4 as IPv4', () => {
    const { lockout } = make()
    lockout.failed('2001:db8:0:1::1')
    lockout.failed('2001:db8:0:1:ffff::2')
    assert.equal(lockout.failed('2001:db8:0:1:ffff:ffff:ffff:ffff').locked, true)
    assert.equal(lockout.remaining('2001:db8:0:2::1'), 0)
    lockout.failed('::ffff:192.0.2.9')
    assert.equal(lockout.failed('192.0.2.9').failures, 2)
  })

  test('the table is bounded', () => {
    const { lockout } = make()
    for (let i = 0; i < LOCKOUT_ADDRESSES + 1; i++) lockout.failed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    assert.equal(lockout.size, LOCKOUT_ADDRESSES)
  })

  test('addresses have one spelling', () => {
    assert.equal(addressKey('::FFFF:1.2.3.4'), '1.2.3.4')
    assert.equal(addressKey('fe80::1%eth0'), 'fe80::/64')
    assert.equal(addressKey(undefined), 'unknown')
    assert.equal(addressText('::ffff:1.2.3.4'), '1.2.3.4')
    assert.equal(addressText('fe80::1%eth0'), 'fe80::1')
  })
})

describe('the guard of the management API', () => {
  test('without the token: 401 with WWW-Authenticate, before path and method are looked at', async (t) => {
    const api = await TestManagement.start({ lockoutThreshold: 1000 })
    t.after(() => api.stop())
    for (const [method, path] of [['GET', '/stats'], ['PUT', '/mappings'], ['GET', '/nowhere'], ['PATCH', '/stats'], ['GET', '/%zz'], ['GET', '/'], ['OPTIONS', '*']] as const) {
      for (const token of [null, 'wrong', `${api.token}x`, api.token.slice(0, -1)]) {
        const reply = await api.askJson(method, path, { token })
        assert.deepEqual([path, reply.status], [path, 401])
        assert.equal(reply.headers['www-authenticate'], 'Bearer realm="signalbox"')
        assert.partialDeepStrictEqual(reply.json, { code: 'UNAUTHORIZED' })
      }
    }
    assert.deepEqual(api.operations.calls, [])
    assert.doesNotMatch(JSON.stringify(api.lines), new RegExp(api.token.slice(0, 30)))
  })

  test('after the threshold: 429 with Retry-After even for the right token, but not for healthz, until the time is over', async (t) => {
    const api = await TestManagement.start()
    t.after(() => api.stop())
    for (let i = 0; i < 3; i++) assert.equal((await api.ask('GET', '/stats', { token: 'wrong' })).status, 401)
    const locked = await api.askJson('GET', '/stats')
    assert.deepEqual([locked.status, locked.headers['retry-after']], [429, '60'])
    assert.partialDeepStrictEqual(locked.json, { code: 'LOCKED_OUT' })
    assert.equal((await api.ask('GET', '/healthz', { token: null })).status, 200)
    assert.equal((await api.ask('GET', '/healthz/', { token: 'wrong' })).status, 200)
    api.clock.advance(59_001)
    assert.equal((await api.ask('GET', '/stats')).headers['retry-after'], '1')
    api.clock.advance(999)
    assert.equal((await api.ask('GET', '/stats')).status, 200)
    const refused = api.lines.filter(({ event }) => event === 'management_refused')
    assert.deepEqual(refused.map(({ client, reason, failures, locked_seconds }) => [client, reason, failures, locked_seconds]), [
      ['127.0.0.1', 'wrong', 1, undefined],
      ['127.0.0.1', 'wrong', 2, undefined],
      ['127.0.0.1', 'wrong', 3, 60],
    ])
  })

  test('a success in between keeps an operator with a typing mistake from being locked out', async (t) => {
    const api = await TestManagement.start()
    t.after(() => api.stop())
    for (let i = 0; i < 5; i++) {
      await api.ask('GET', '/stats', { token: 'wrong' })
      await api.ask('GET', '/stats', { token: null })
      assert.equal((await api.ask('GET', '/stats')).status, 200)
    }
  })
})
