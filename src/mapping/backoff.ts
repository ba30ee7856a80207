/** Pauses before a store is connected to again: doubling, bounded, with jitter so that a fleet does not come as one. */
import { RECONNECT_MAX_MS, RECONNECT_MIN_MS } from '../limits.ts'

/** Milliseconds before try `times` (from 1): at most `longest`, at least half of what doubling gives. */
export function reconnectPause(times: number, longest = RECONNECT_MAX_MS): number {
  const full = Math.min(longest, RECONNECT_MIN_MS * 2 ** Math.min(times - 1, 20))
  return Math.round(full * (0.5 + Math.random() / 2))
}
