/** What the proxy is held to beside its floor. */
import type { Goal } from './question.ts'

/** At most so many times the floor's processor time, one day, with log, metrics, health, limits and deadlines. */
const AIM = 1.15

/**
 * As a must what was reached and is not to be lost again (docs/performance.md), with room for what runs of the same code
 * differ by; as a goal the aim, where that is less.
 */
export function besideFloor(subject: string, floor: string, reached: number): Goal[] {
  const most = (kind: Goal['kind'], ratio: number): Goal => ({ kind, subject, figure: 'cpu', of: floor, most: ratio })
  return reached > AIM ? [most('must', reached), most('goal', AIM)] : [most('must', reached)]
}
