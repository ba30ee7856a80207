/**
 * The grammar of SMTP replies as a backend sends them (RFC 5321 §4.2): lines of one code, all but the last with a hyphen
 * behind it. Incremental; every line is bounded, and what a backend says beyond that is trouble.
 */
import { BACKEND_LINE } from '../../limits.ts'
import { LineReader } from '../line-reader.ts'

export interface Reply {
  readonly code: number
  /** The lines as they came, codes included, without line ends; latin1. */
  readonly lines: readonly string[]
}

const LINE = /^([2-5][0-9]{2})(?:([ -]).*)?$/s

export class ReplyReader {
  readonly bytes = new LineReader()
  /** Of a reply that is not whole yet. */
  #code = 0
  #lines: string[] = []

  /** The next whole reply; 'more' when none is held; 'too-long' beyond the bounds; 'malformed': no SMTP. */
  next(): Reply | 'more' | 'too-long' | 'malformed' {
    for (;;) {
      const end = this.bytes.lineEnd()
      // An unfinished line may end in the CR of its CRLF.
      const textEnd = end < 0 ? this.bytes.length - 1 : this.bytes.textEnd(0, end)
      if (textEnd > BACKEND_LINE) return 'too-long'
      if (end < 0) return 'more'
      const line = this.bytes.view(0, textEnd).toString('latin1')
      this.bytes.consume(end)
      const match = LINE.exec(line)
      const code = Number(match?.[1])
      if (match === null || (this.#lines.length > 0 && code !== this.#code)) return 'malformed'
      this.#code = code
      this.#lines.push(line)
      if (match[2] === '-') continue
      const lines = this.#lines
      this.#lines = []
      return { code, lines }
    }
  }
}

/** What stands behind the code of a reply's line. */
export function textOf(line: string): string {
  return line.slice(4)
}
