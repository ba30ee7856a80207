import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AddressBook, type Address } from '../../src/destination/dns.ts'
import { DNS_STALE_WAIT_MS, DNS_TTL_MS } from '../../src/limits.ts'
import { FakeClock } from '../support/fake-clock.ts'

const A: Address = { address: '192.0.2.1', family: 4 }
const B: Address = { address: '192.0.2.2', family: 4 }
const C: Address = { address: '2001:db8::1', family: 6 }

/** A resolver that answers as told, and counts. */
function fakeResolver(first: readonly Address[] | Error) {
  const state = {
    answer: first as readonly Address[] | Error | 'silent',
    asked: 0,
    resolve: (_host: string): Promise<readonly Address[]> => {
      state.asked++
      if (state.answer === 'silent') return new Promise(() => {})
      return state.answer instanceof Error ? Promise.reject(state.answer) : Promise.resolve(state.answer)
    },
  }
  return state
}

test('an address is its own answer and nobody is asked', async () => {
  const resolver = fakeResolver(new Error('must not be asked'))
  const book = new AddressBook(new FakeClock(), resolver.resolve)
  assert.deepEqual(book.known('192.0.2.9'), [{ address: '192.0.2.9', family: 4 }])
  assert.deepEqual(await book.lookup('2001:db8::9'), [{ address: '2001:db8::9', family: 6 }])
  assert.equal(resolver.asked, 0)
})

test('localhost is found through the hosts file', async () => {
  const addresses = await new AddressBook(new FakeClock()).lookup('localhost')
  assert.ok(addresses.some(({ address }) => address === '127.0.0.1' || address === '::1'))
})

test('an answer is used until its time is over, to the millisecond', async () => {
  const clock = new FakeClock()
  const resolver = fakeResolver([A])
  const book = new AddressBook(clock, resolver.resolve)
  assert.equal(book.known('mail'), undefined)
  assert.deepEqual(await book.lookup('mail'), [A])
  resolver.answer = [B]
  clock.advance(DNS_TTL_MS - 1)
  assert.deepEqual(book.known('mail'), [A])
  assert.deepEqual(await book.lookup('mail'), [A])
  assert.equal(resolver.asked, 1)
  clock.advance(1)
  assert.equal(book.known('mail'), undefined)
  assert.deepEqual(await book.lookup('mail'), [B])
  assert.equal(resolver.asked, 2)
})

test('concurrent lookups of one host are one lookup', async () => {
  const resolver = fakeResolver([A])
  const book = new AddressBook(new FakeClock(), resolver.resolve)
  const answers = await Promise.all([book.lookup('mail'), book.lookup('mail'), book.lookup('other')])
  assert.equal(answers.length, 3)
  assert.equal(resolver.asked, 2)
})

test('the families come in turns, the first choice of the resolver first', async () => {
  const resolver = fakeResolver([A, B, C])
  const book = new AddressBook(new FakeClock(), resolver.resolve)
  assert.deepEqual(await book.lookup('mail'), [A, C, B])
})

test('the last good answer is kept while DNS fails, and asked for again after its time', async () => {
  const clock = new FakeClock()
  const resolver = fakeResolver([A])
  const book = new AddressBook(clock, resolver.resolve)
  await book.lookup('mail')
  resolver.answer = new Error('SERVFAIL')
  clock.advance(DNS_TTL_MS)
  assert.deepEqual(await book.lookup('mail'), [A])
  assert.deepEqual(await book.lookup('mail'), [A])
  assert.equal(resolver.asked, 2)
  resolver.answer = []
  clock.advance(DNS_TTL_MS)
  assert.deepEqual(await book.lookup('mail'), [A])
  resolver.answer = [B]
  clock.advance(DNS_TTL_MS)
  assert.deepEqual(await book.lookup('mail'), [B])
})

test('a nameserver that does not answer holds a login up only for a moment when an older answer is at hand', async () => {
  const clock = new FakeClock()
  const resolver = fakeResolver([A])
  const book = new AddressBook(clock, resolver.resolve)
  await book.lookup('mail')
  resolver.answer = 'silent'
  clock.advance(DNS_TTL_MS)
  const waiting = book.lookup('mail')
  let answered = false
  void waiting.then(() => (answered = true))
  await clock.advanceAsync(DNS_STALE_WAIT_MS - 1)
  assert.equal(answered, false)
  await clock.advanceAsync(1)
  assert.deepEqual(await waiting, [A])
  assert.equal(clock.pending, 0)
})

test('a host that never resolved is BACKEND_DNS, and asked for anew each time', async () => {
  const resolver = fakeResolver(Object.assign(new Error('no'), { code: 'ENOTFOUND' }))
  const book = new AddressBook(new FakeClock(), resolver.resolve)
  await assert.rejects(book.lookup('nowhere'), { code: 'BACKEND_DNS', retryable: true, message: /nowhere .*ENOTFOUND/ })
  resolver.answer = []
  await assert.rejects(book.lookup('nowhere'), { code: 'BACKEND_DNS' })
  resolver.answer = [A]
  assert.deepEqual(await book.lookup('nowhere'), [A])
  assert.equal(resolver.asked, 3)
})
