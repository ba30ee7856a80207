/**
 * Matching a path against a route's glob: `*` and `?` cross `/`, `**` between slashes also stands for nothing, `{a,b}`,
 * `[…]`, `[!…]`, `\` escapes. A glob becomes a small non-deterministic automaton, and all its states are followed at
 * once: a path costs its length times the glob's, whatever a stranger writes into it. Patterns were checked when the
 * configuration was loaded (config/glob.ts).
 */

type Part =
  | { readonly kind: 'one'; readonly accepts: (code: number) => boolean }
  | { readonly kind: 'many' }
  | { readonly kind: 'choice'; readonly branches: readonly (readonly Part[])[] }

interface State {
  /** Undefined: goes on without taking a character. */
  readonly accepts: ((code: number) => boolean) | undefined
  to: readonly number[]
}

const SLASH: Part = one('/')
const MANY: Part = { kind: 'many' }

/** Whether a path fits the glob: as it is, or without its trailing slash. */
export function compileGlob(pattern: string): (path: string) => boolean {
  const states: State[] = [{ accepts: undefined, to: [] }]
  const start = build(new Parser(pattern).sequence(), 0, states)
  const fits = (path: string): boolean => run(states, start, path)
  return (path) => fits(path) || (path.length > 1 && path.endsWith('/') && fits(path.slice(0, -1)))
}

class Parser {
  readonly #pattern: string
  #at = 0

  constructor(pattern: string) {
    this.#pattern = pattern
  }

  /** Up to the end; inside braces up to `,` or `}`, which is left. */
  sequence(inBraces = false): readonly Part[] {
    const parts: Part[] = []
    for (; this.#at < this.#pattern.length; ) {
      const character = this.#pattern.charAt(this.#at)
      if (inBraces && (character === ',' || character === '}')) break
      this.#at++
      switch (character) {
        case '*':
          parts.push(...this.#stars())
          break
        case '?':
          parts.push({ kind: 'one', accepts: () => true })
          break
        case '[':
          parts.push(this.#class())
          break
        case '{':
          parts.push(this.#choice())
          break
        case '\\':
          parts.push(one(this.#pattern.charAt(this.#at++)))
          break
        default:
          parts.push(one(character))
      }
    }
    return parts
  }

  /** Behind the first star: one or several stars, and a slash behind two where they fill a whole segment. */
  #stars(): readonly Part[] {
    const first = this.#at - 1
    while (this.#pattern[this.#at] === '*') this.#at++
    const wholeSegment = this.#at - first === 2 && this.#pattern[this.#at] === '/'
    const before = this.#pattern[first - 1]
    if (!wholeSegment || (first > 0 && before !== '/')) return [MANY]
    this.#at++
    const branches = [[], [MANY, SLASH]]
    return [{ kind: 'choice', branches: first === 0 ? [[SLASH], ...branches] : branches }]
  }

  #choice(): Part {
    const branches: (readonly Part[])[] = []
    do branches.push(this.sequence(true))
    while (this.#pattern[this.#at++] === ',')
    return { kind: 'choice', branches }
  }

  #class(): Part {
    const negated = this.#pattern[this.#at] === '!' || this.#pattern[this.#at] === '^'
    if (negated) this.#at++
    const ranges: (readonly [number, number])[] = []
    for (const first = this.#at; this.#at < this.#pattern.length; ) {
      if (this.#pattern[this.#at] === ']' && this.#at > first) break
      const from = this.#member()
      const next = this.#pattern[this.#at + 1]
      const isRange = this.#pattern[this.#at] === '-' && next !== undefined && next !== ']'
      if (isRange) this.#at++
      ranges.push([from, isRange ? this.#member() : from])
    }
    this.#at++
    return { kind: 'one', accepts: (code) => ranges.some(([from, to]) => code >= from && code <= to) !== negated }
  }

  #member(): number {
    if (this.#pattern[this.#at] === '\\') this.#at++
    return this.#pattern.charCodeAt(this.#at++)
  }
}

function one(character: string): Part {
  const wanted = character.charCodeAt(0)
  return { kind: 'one', accepts: (code) => code === wanted }
}

/** Adds the states of a sequence that goes on at `next`. Gives where it begins. */
function build(parts: readonly Part[], next: number, states: State[]): number {
  return parts.reduceRight((after, part) => {
    switch (part.kind) {
      case 'one':
        return states.push({ accepts: part.accepts, to: [after] }) - 1
      case 'many': {
        const fork: State = { accepts: undefined, to: [] }
        const at = states.push(fork) - 1
        fork.to = [states.push({ accepts: () => true, to: [at] }) - 1, after]
        return at
      }
      case 'choice':
        return states.push({ accepts: undefined, to: part.branches.map((branch) => build(branch, after, states)) }) - 1
    }
  }, next)
}

/** State 0 is the end. */
function run(states: readonly State[], start: number, path: string): boolean {
  let now = reachable(states, [start])
  for (let at = 0; at < path.length && now.size > 0; at++) {
    const code = path.charCodeAt(at)
    const next: number[] = []
    for (const state of now) {
      const { accepts, to } = states[state] ?? NOWHERE
      if (accepts?.(code) === true) next.push(...to)
    }
    now = reachable(states, next)
  }
  return now.has(0)
}

/** These states and all that follow without a character. */
function reachable(states: readonly State[], from: readonly number[]): Set<number> {
  const found = new Set(from)
  for (const state of found) {
    const { accepts, to } = states[state] ?? NOWHERE
    if (accepts === undefined) for (const next of to) found.add(next)
  }
  return found
}

const NOWHERE: State = { accepts: undefined, to: [] }
