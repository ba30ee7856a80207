import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cancel } from '../src/cancel.ts'
import type { CancelSignal } from '../src/cancel.ts'

test('whoever listens is told once, in the order of coming, with the first reason at hand', () => {
  const cancel = new Cancel()
  const told: unknown[] = []
  cancel.addEventListener('abort', () => told.push('one', cancel.reason))
  cancel.addEventListener('abort', () => told.push('two', cancel.aborted))
  assert.deepEqual([cancel.aborted, cancel.reason], [false, undefined])
  cancel.abort('why')
  cancel.abort('a later reason')
  assert.deepEqual(told, ['one', 'why', 'two', true])
  assert.equal(cancel.signal.reason, 'why')
})

test('who was taken away, even while others are told, and who comes too late is not told', () => {
  const cancel = new Cancel()
  const told: string[] = []
  const gone = (): void => void told.push('gone')
  const last = (): void => void told.push('last')
  cancel.addEventListener('abort', gone)
  cancel.addEventListener('abort', () => cancel.removeEventListener('abort', last))
  cancel.addEventListener('abort', last)
  cancel.removeEventListener('abort', gone)
  cancel.removeEventListener('abort', gone)
  cancel.abort('why')
  cancel.addEventListener('abort', gone)
  assert.deepEqual(told, [])
})

test('an AbortSignal is one as well', () => {
  const controller = new AbortController()
  const signal: CancelSignal = controller.signal
  controller.abort('why')
  assert.deepEqual([signal.aborted, signal.reason], [true, 'why'])
})
