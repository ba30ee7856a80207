/** A progress bar on standard error while somebody watches it; nothing at all otherwise, so that logs stay clean. */
import { Presets, SingleBar } from 'cli-progress'
import type { Terminal } from './terminal.ts'

/** Answers come in bursts, one for each time the store commits: what is left is reckoned over several of them. */
const ETA_SAMPLES = 4_000

export interface Progress {
  /** Begins anew with other words; undefined: nobody knows how much there is, nothing is drawn. */
  phase(words: string, total: number | undefined): void
  at(value: number): void
  end(): void
}

export function createProgress({ stderr }: Terminal): Progress {
  if (stderr.isTTY !== true) return { phase: () => {}, at: () => {}, end: () => {} }
  let bar: SingleBar | undefined
  const end = (): void => {
    bar?.stop()
    bar = undefined
  }
  return {
    phase(words, total) {
      end()
      if (total === undefined || total === 0) return
      const format = `${words} {bar} {percentage}% | {value}/{total} | {eta_formatted} left`
      bar = new SingleBar({ format, stream: stderr, hideCursor: true, clearOnComplete: true, fps: 5, etaBuffer: ETA_SAMPLES }, Presets.shades_classic)
      bar.start(total, 0)
    },
    at: (value) => bar?.update(value),
    end,
  }
}
