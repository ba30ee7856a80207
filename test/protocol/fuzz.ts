/** What the fuzz tests of the dialogues are fed with, and what must hold for every protocol's. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { BackendOptions, Login, LoginProtocol, PreauthFactory } from '../../src/protocol/protocol.ts'
import { ACCEPT, REFUSE, type Verdict, cutAt, runBackend, runPreauth } from './recorder.ts'

/** What the session decides about a login. */
export const verdict = fc.constantFrom<Verdict>(
  ACCEPT,
  REFUSE,
  REFUSE,
  { do: 'unavailable' },
  { do: 'challenge', challenge: Buffer.from('c') },
)

/** Places for `cutAt`. */
export const cuts = fc.array(fc.nat({ max: 20_000 }), { maxLength: 30 })

/** A beginning, then words of a protocol, some of them damaged, with anything in between. */
export function dialogues(words: readonly string[], beginnings: readonly string[]): fc.Arbitrary<Buffer> {
  const word = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...words).map((text) => Buffer.from(text, 'latin1')) },
    {
      weight: 2,
      arbitrary: fc.tuple(fc.constantFrom(...words), fc.nat(), fc.nat({ max: 255 })).map(([text, at, byte]) => {
        const bytes = Buffer.from(text, 'latin1')
        bytes[at % bytes.length] = byte
        return bytes
      }),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
  )
  return fc
    .tuple(fc.constantFrom(...beginnings), fc.array(word, { maxLength: 12 }))
    .map(([beginning, rest]) => Buffer.concat([Buffer.from(beginning), ...rest]))
}

/**
 * A client's dialogue answers alike however its bytes are cut and whenever the session answers, and holds no more than its
 * bound (`most`, bytes).
 */
export function clientAnswersAlike(factory: PreauthFactory, words: readonly string[], most: number, beginnings: readonly string[] = ['']): void {
  fc.assert(
    fc.property(dialogues(words, beginnings), cuts, fc.array(verdict, { maxLength: 5 }), (bytes, places, verdicts) => {
      const pieces = cutAt(bytes, places)
      const within = runPreauth(factory, true, [bytes], verdicts, 'within')
      const cut = runPreauth(factory, true, pieces, verdicts, 'within')
      assert.deepEqual(cut.calls, within.calls)
      const later = runPreauth(factory, true, pieces, verdicts)
      const full = later.calls.some(([name, , code]) => name === 'close' && code === 'CLIENT_BUFFER')
      if (!full) assert.deepEqual(later.calls, within.calls)
      for (const { mostHeld } of [within, cut, later]) assert.ok(mostHeld <= most, `${mostHeld} held`)
    }),
    { numRuns: 1_500 },
  )
}

/** A client's dialogue with STARTTLS never throws, speaks no word after it closed, and holds nothing then. */
export function clientEndsOnce(factory: PreauthFactory, words: readonly string[], beginnings: readonly string[] = ['']): void {
  fc.assert(
    fc.property(dialogues(words, beginnings), cuts, fc.array(verdict, { maxLength: 5 }), (bytes, places, verdicts) => {
      const { calls, dialogue } = runPreauth(factory, false, cutAt(bytes, places), verdicts)
      const closed = calls.findIndex(([name, , final]) => name === 'close' || (name === 'deny' && final === true))
      assert.ok(closed < 0 || closed === calls.length - 1)
      if (closed >= 0) assert.equal(dialogue.held, 0)
    }),
    { numRuns: 700 },
  )
}

export interface BackendFuzz {
  readonly protocol: LoginProtocol
  readonly options: BackendOptions
  readonly words: readonly string[]
  readonly beginnings: readonly string[]
  readonly logins: readonly Login[]
}

/** A backend's dialogue judges alike however the bytes are cut, and once. */
export function backendJudgesAlike({ protocol, options, words, beginnings, logins }: BackendFuzz): void {
  fc.assert(
    fc.property(dialogues(words, beginnings), cuts, fc.constantFrom(...logins), fc.boolean(), (bytes, places, login, hideAuthErrors) => {
      const all = { ...options, hideAuthErrors }
      const whole = runBackend(protocol, all, [[bytes]], login, [Buffer.from('x')], 'within')
      const cut = runBackend(protocol, all, [cutAt(bytes, places)], login, [Buffer.from('x')], 'within')
      assert.deepEqual(cut.calls, whole.calls)
      const verdicts = whole.calls.filter(([name]) => name === 'accepted' || name === 'refused' || name === 'trouble')
      assert.ok(verdicts.length <= 1)
    }),
    { numRuns: 1_500 },
  )
}

/** Nothing of a login (`secret`) is written before TLS is up on the STARTTLS leg. */
export function loginWaitsForTls({ protocol, options, words, beginnings, logins }: BackendFuzz, secret: RegExp): void {
  fc.assert(
    fc.property(dialogues(words, beginnings), cuts, fc.constantFrom(...logins), (bytes, places, login) => {
      const { calls } = runBackend(protocol, { ...options, startTls: true }, [cutAt(bytes, places)], login)
      const secured = calls.findIndex(([name]) => name === 'startTls')
      const written = calls.findIndex(([name, text]) => name === 'write' && secret.test(String(text)))
      assert.ok(written < 0 || (secured >= 0 && secured < written))
    }),
    { numRuns: 700 },
  )
}
