/**
 * A bar chart as inline SVG: a bar per subject to the median, a line from the least round to the greatest. Colours are
 * the page's own classes, so that it follows light and dark.
 */
import { numberText } from './figures-text.ts'
import type { Spread } from './statistics.ts'

export interface Bar {
  readonly name: string
  readonly spread: Spread
  /** proxy: the one under test; floor: what it is held against; peer: everybody else. */
  readonly role: 'proxy' | 'floor' | 'peer'
}

const WIDTH = 720
const LABEL = 190
const VALUE = 90
const ROW = 24
const BAR = 14
/** Beyond so many times the median bar one runs off the chart, so that the others can still be told apart. */
const OFF = 4

/** @param title For those who can't see it. */
export function barChart(title: string, bars: readonly Bar[]): string {
  if (bars.length === 0) return ''
  const medians = bars.map(({ spread }) => spread.median).toSorted((a, b) => a - b)
  const middle = medians[Math.floor(medians.length / 2)] ?? 0
  const greatest = Math.max(...bars.map(({ spread }) => spread.most))
  const scale = greatest > middle * OFF && middle > 0 ? middle * OFF : greatest
  const x = (value: number): number => LABEL + (scale === 0 ? 0 : (Math.min(value, scale) / scale) * (WIDTH - LABEL - VALUE))
  const height = bars.length * ROW + 4
  const rows = bars.map(({ name, spread, role }, index) => {
    const y = index * ROW + 4
    const middleY = y + BAR / 2
    const off = spread.median > scale
    return [
      `<text class="name" x="${LABEL - 8}" y="${y + 11}" text-anchor="end">${escapeHtml(name)}</text>`,
      `<rect class="${role}${off ? ' off' : ''}" x="${LABEL}" y="${y}" width="${fixed(x(spread.median) - LABEL)}" height="${BAR}" rx="2"/>`,
      off ? '' : `<line class="spread" x1="${fixed(x(spread.least))}" x2="${fixed(x(spread.most))}" y1="${middleY}" y2="${middleY}"/>`,
      `<text class="value" x="${fixed(Math.max(x(spread.median), off ? 0 : x(spread.most)) + 6)}" y="${y + 11}">${numberText(spread.median)}${off ? ' →' : ''}</text>`,
    ].join('')
  })
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(title)}">${rows.join('')}</svg>`
}

export function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? character)
}

function fixed(value: number): string {
  return value.toFixed(1)
}
