/** A log for mapping sources that keeps what it was told. */
import type { SourceLog } from '../../src/mapping/notice.ts'

export interface Line {
  readonly level: 'info' | 'warn'
  readonly fields: object
  readonly message: string
}

export class KeptLog implements SourceLog {
  readonly lines: Line[] = []

  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields, message })
  }

  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields, message })
  }

  /** The lines of one event. */
  of(event: string): Line[] {
    return this.lines.filter((line) => 'event' in line.fields && line.fields.event === event)
  }

  /** Everything as one text, to search for what must not be there. */
  get text(): string {
    return JSON.stringify(this.lines)
  }
}
