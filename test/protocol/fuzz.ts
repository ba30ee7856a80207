/** What the fuzz tests of the dialogues are fed with. */
import fc from 'fast-check'
import { ACCEPT, REFUSE, type Verdict } from './recorder.ts'

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
