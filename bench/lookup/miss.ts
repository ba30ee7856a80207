/** What the questions about misses at a store share: a lookup in this process, one at a time and many in flight, and its figures. */
import type { Bench, FigureKind, Figures, Subject } from '../question.ts'
import { account } from './mail.ts'
import { rate } from './rate.ts'

export const IN_FLIGHT = 256
/** What every account is mapped to. */
export const DESTINATION = 'backend'

export const MISS_FIGURES: Readonly<Record<string, FigureKind>> = {
  cpu: { label: `CPU per lookup, ${IN_FLIGHT} in flight`, unit: 'µs', better: 'less', chart: true },
  median: { label: 'median of one at a time', unit: 'µs', better: 'less' },
  rate: { label: `lookups a second, ${IN_FLIGHT} in flight`, unit: '/s', better: 'more' },
}

export interface Missing {
  readonly name: string
  /** Lookups of a round: one at a time, and many in flight. A quick round has a fifth of them. */
  readonly alone: number
  readonly many: number
  ask(identifier: string): Promise<string | undefined>
}

/** Another account at each lookup. */
export function missSubject(bench: Bench, { name, alone, many, ask }: Missing): Subject {
  let asked = 0
  const one = async (): Promise<void> => {
    if ((await ask(account(asked++))) !== DESTINATION) throw new Error(`${name}: no mapping`)
  }
  const share = bench.quick ? 5 : 1
  return {
    name,
    warm: async () => void (await rate(IN_FLIGHT, many / share, one)),
    async round(): Promise<Figures> {
      const single = await rate(1, alone / share, one)
      const full = await rate(IN_FLIGHT, many / share, one)
      return { cpu: full.cpu / (many / share), median: single.median * 1_000, rate: full.perSecond }
    },
  }
}
