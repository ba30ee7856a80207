/**
 * What a backend's answer to EHLO says (RFC 5321 §4.1.1.1): keywords with their arguments, behind a first line that names the
 * server. The old way to write AUTH (`AUTH=PLAIN`, from before RFC 2554) is understood too.
 */
import { type Reply, textOf } from './reply.ts'

export class Keywords {
  /** One entry a line, as written. */
  readonly lines: readonly string[]
  readonly #arguments: ReadonlyMap<string, readonly string[]>

  constructor(reply: Reply | undefined) {
    this.lines = reply === undefined ? [] : reply.lines.slice(1).map(textOf)
    const found = new Map<string, readonly string[]>()
    for (const line of this.lines) {
      const [keyword = '', ...rest] = line.toUpperCase().replace(/^AUTH=/, 'AUTH ').trim().split(/ +/)
      found.set(keyword, [...(found.get(keyword) ?? []), ...rest])
    }
    this.#arguments = found
  }

  /** The arguments of a keyword, in upper case; undefined: it was not named. */
  arguments(keyword: string): readonly string[] | undefined {
    return this.#arguments.get(keyword)
  }

  has(keyword: string): boolean {
    return this.#arguments.has(keyword)
  }
}
