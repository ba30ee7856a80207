import assert from 'node:assert/strict'
import { test } from 'node:test'
import { REVIEW_BATCH, REVIEW_PAUSE_MS, REVIEW_STEP_MS } from '../../src/limits.ts'
import { SessionReview } from '../../src/session/review.ts'
import type { ReviewCounts } from '../../src/session/review.ts'
import { settle } from '../support/bus-member.ts'
import { FakeClock } from '../support/fake-clock.ts'

function review(accounts: string[], places: Map<string, string>) {
  const clock = new FakeClock()
  const asked: string[] = []
  const ended: string[] = []
  const told: ReviewCounts[] = []
  const subject = new SessionReview({
    clock,
    accounts: () => accounts,
    where: async (account) => {
      asked.push(account)
      const place = places.get(account)
      if (place === 'nobody knows') throw new Error('the source is away')
      return place
    },
    end: (account, destination) => {
      if (destination === 'old') return 0
      ended.push(`${account} is at ${destination}`)
      return 2
    },
    reviewed: (counts) => told.push(counts),
  })
  return { clock, asked, ended, told, subject }
}

test('every account with sessions is looked up, and sessions that are elsewhere are ended and counted', async () => {
  const { asked, ended, told, subject } = review(['a', 'b', 'c'], new Map([['a', 'old'], ['b', 'new'], ['c', 'old']]))
  subject.begin()
  await settle()
  assert.deepEqual([asked, ended], [['a', 'b', 'c'], ['b is at new']])
  assert.deepEqual(told, [{ accounts: 3, ended: 2, unknown: 0 }])
})

test('accounts are looked up so many at a time', async () => {
  const accounts = Array.from({ length: 2 * REVIEW_BATCH + 1 }, (_, index) => `user${index}`)
  const { clock, asked, told, subject } = review(accounts, new Map(accounts.map((account) => [account, 'old'])))
  subject.begin()
  await settle()
  for (const count of [REVIEW_BATCH, 2 * REVIEW_BATCH]) {
    assert.equal(asked.length, count)
    clock.advance(REVIEW_STEP_MS - 1)
    await settle()
    assert.equal(asked.length, count, 'not before its time')
    clock.advance(1)
    await settle()
  }
  assert.equal(asked.length, accounts.length)
  assert.deepEqual(told, [{ accounts: accounts.length, ended: 0, unknown: 0 }])
})

test('what nobody could say is asked again, until somebody can, and only what was left', async () => {
  const places = new Map([['a', 'old'], ['b', 'nobody knows']])
  const accounts = ['a', 'b', 'unheard of']
  const { clock, asked, ended, told, subject } = review(accounts, places)
  subject.begin()
  await settle()
  clock.advance(REVIEW_PAUSE_MS - 1)
  await settle()
  assert.equal(asked.length, 3, 'not before its time')
  clock.advance(1)
  await settle()
  assert.deepEqual(asked, ['a', 'b', 'unheard of', 'b', 'unheard of'])
  places.set('b', 'new')
  accounts.pop()
  clock.advance(REVIEW_PAUSE_MS)
  await settle()
  assert.deepEqual([asked.slice(5), ended], [['b'], ['b is at new']])
  clock.advance(10 * REVIEW_PAUSE_MS)
  await settle()
  assert.equal(asked.length, 6, 'nothing is left')
  assert.deepEqual(told, [{ accounts: 3, ended: 0, unknown: 2 }, { accounts: 1, ended: 2, unknown: 0 }])
})

test('asked for again and again it is done once more, after a pause', async () => {
  const { clock, asked, subject } = review(['a'], new Map([['a', 'old']]))
  for (let times = 0; times < 5; times++) subject.begin()
  await settle()
  for (let times = 0; times < 5; times++) subject.begin()
  await settle()
  assert.equal(asked.length, 1)
  clock.advance(REVIEW_PAUSE_MS)
  await settle()
  assert.equal(asked.length, 2)
  clock.advance(10 * REVIEW_PAUSE_MS)
  await settle()
  assert.equal(asked.length, 2)
  subject.begin()
  await settle()
  assert.equal(asked.length, 3)
})
