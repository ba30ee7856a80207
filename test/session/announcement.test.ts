import { equal, throws } from 'node:assert/strict'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { timeToLive } from '../../src/session/announcement.ts'
import { testListener } from '../support/config.ts'

const connection = {
  socket: new Socket(),
  id: 's1',
  number: 1,
  clientAddress: '192.0.2.7',
  clientPort: 5,
  localAddress: '198.51.100.7',
  localPort: 993,
}
const left = (proxyTtl: number, announcedTtl?: number, proxyTrusted: readonly string[] = []): number =>
  timeToLive({ connection, listener: testListener({ proxyTrusted }), facts: announcedTtl === undefined ? {} : { announcedTtl }, proxyTtl })
const LOOP = { code: 'BACKEND_LOOP' }
const TRUSTED = ['192.0.2.0/24']

test('the time-to-live begins with server.proxy_ttl, and is one less for the backend', () => {
  equal(left(7), 6)
  equal(left(2), 1)
})

test('it goes on from what a trusted proxy has announced', () => {
  equal(left(7, 3, TRUSTED), 2)
  equal(left(7, 2, TRUSTED), 1)
})

test('what anybody else announces is ignored', () => {
  equal(left(7, 1), 6)
  equal(left(7, 0, ['10.0.0.0/8']), 6)
  equal(left(7, 200, ['10.0.0.0/8']), 6)
})

test('a login with nothing left goes nowhere', () => {
  throws(() => left(7, 1, TRUSTED), LOOP)
  throws(() => left(7, 0, TRUSTED), LOOP)
  throws(() => left(1), LOOP)
})
