/**
 * The lines of a POP3 backend (RFC 1939 §3). Whether one is a status line or a line of a listing, only the dialogue knows. Each is
 * bounded: what a backend says beyond that is trouble.
 */
import { BACKEND_LINE } from '../../limits.ts'
import { LineReader } from '../line-reader.ts'

export class BackendLines {
  readonly bytes = new LineReader()

  /** The next whole line without its end, in latin1; 'more' when none is held; 'too-long' beyond the bound. */
  next(): { readonly line: string } | 'more' | 'too-long' {
    const { bytes } = this
    const end = bytes.lineEnd()
    // An unfinished line may end in the CR of its CRLF.
    const textEnd = end < 0 ? bytes.length - 1 : bytes.textEnd(0, end)
    if (textEnd > BACKEND_LINE) return 'too-long'
    if (end < 0) return 'more'
    const line = bytes.view(0, textEnd).toString('latin1')
    bytes.consume(end)
    return { line }
  }
}
