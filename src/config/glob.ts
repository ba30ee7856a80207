/**
 * Whether a route's glob can be compiled: `*`, `?`, `**`, `{a,b}`, `[…]`, `\` escapes. Matching is the http
 * protocol's business; here a pattern is only refused before it could fail at a request.
 */

/** Undefined when the glob is sound, else the reason. Braces may be nested, up to eight deep. */
export function globMistake(pattern: string): string | undefined {
  let braces = 0
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at]
    if (character === '\\') {
      if (at + 1 === pattern.length) return 'a backslash stands at the end'
      at++
    } else if (character === '{') {
      if (++braces > 8) return 'braces are nested too deeply'
    } else if (character === '}') {
      if (--braces < 0) return 'a } has no {'
    } else if (character === '[') {
      const end = classEnd(pattern, at)
      if (typeof end === 'string') return end
      at = end
    }
  }
  return braces > 0 ? 'a { is not closed' : undefined
}

/** Index of the `]` that closes the class at `start`; a `]` right after `[`, `[!` or `[^` belongs to the class. */
function classEnd(pattern: string, start: number): number | string {
  let at = start + 1
  if (pattern[at] === '!' || pattern[at] === '^') at++
  const first = at
  for (; at < pattern.length; at++) {
    if (pattern[at] === '\\') at++
    else if (pattern[at] === ']' && at > first) return at
    else if (pattern[at] === '-' && at > first) {
      const [from, to] = [pattern[at - 1], pattern[at + 1]]
      const range = from !== undefined && to !== undefined && to !== ']' && to !== '\\'
      if (range && from > to) return `the range ${from}-${to} is backwards`
    }
  }
  return 'a [ is not closed'
}
