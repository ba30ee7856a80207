import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { joinFrames, splitFrames } from '../../src/actor/batch.ts'

test('frames that were joined come apart as what they were, from the middle of a buffer as well', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), fc.nat(9), (frames, before) => {
      const batch = joinFrames(frames)
      const within = new Uint8Array(batch.length + before + 3).fill(0xff)
      within.set(batch, before)
      for (const given of [batch, within.subarray(before, before + batch.length)]) {
        const apart: number[][] = []
        splitFrames(given, (start, end) => apart.push([...given.subarray(start, end)]))
        assert.deepEqual(apart, frames.map((frame) => [...frame]))
      }
    }),
  )
})

test('a batch that ends within a frame gives those before it and then says so', () => {
  const frames = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')]
  const batch = joinFrames(frames)
  const ends = [0, 7, 14, 23]
  for (let length = 0; length < batch.length; length++) {
    const taken: string[] = []
    const take = (): void => splitFrames(batch.subarray(0, length), (start, end) => taken.push(Buffer.from(batch.subarray(start, end)).toString()))
    if (ends.includes(length)) take()
    else assert.throws(take, { code: 'FRAME_INVALID' }, `cut at ${length}`)
    assert.deepEqual(taken, ['one', 'two', 'three'].slice(0, ends.filter((end) => end > 0 && end <= length).length))
  }
})
