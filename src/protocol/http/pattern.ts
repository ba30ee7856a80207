/**
 * Regular expressions over what strangers send: RE2, whose time is linear in the text whatever the pattern is.
 * The operator writes the pattern; the first group is what it is for.
 */
import { RE2JS } from 're2js'

export interface Pattern {
  /** What the first group matched; undefined: the pattern does not occur, or its group took no part. */
  firstGroup(text: string): string | undefined
}

/** @throws Error with RE2's words for a pattern that it does not take, or one without a group */
export function compilePattern(source: string): Pattern {
  const compiled = RE2JS.compile(source)
  if (compiled.groupCount() < 1) throw new Error('has no group')
  return {
    firstGroup(text) {
      const matcher = compiled.matcher(text)
      return matcher.find() ? (matcher.group(1) ?? undefined) : undefined
    },
  }
}
