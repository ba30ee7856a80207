/**
 * What a command has to talk to people with: the two outputs, whether somebody watches, and Ctrl-C. Results go to standard
 * output, everything else (progress, warnings, refusals) to standard error, so that a pipe gets results only.
 */
import type { Readable, Writable } from 'node:stream'
import { once } from 'node:events'
import type { Clock } from '../clock.ts'
import { SignalboxError } from '../errors.ts'

export interface Terminal {
  readonly stdin: Readable
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number }
  readonly stderr: Writable & { readonly isTTY?: boolean }
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
}

/** Writes, and waits while the reader is behind. Rejects with CLIENT_CLOSED when nobody reads any more (`| head`). */
export async function write(stream: Writable, text: string): Promise<void> {
  try {
    if (stream.errored !== null) throw stream.errored
    if (!stream.write(text)) await once(stream, 'drain')
  } catch (cause) {
    throw new SignalboxError('CLIENT_CLOSED', 'nobody reads the output any more', { cause })
  }
}

/** Runs `work` with a signal that Ctrl-C (or a polite kill) aborts; the second one ends the process as usual. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupted = new AbortController()
  const signals = ['SIGINT', 'SIGTERM'] as const
  const stop = (): void => {
    interrupted.abort()
    for (const signal of signals) process.off(signal, stop)
  }
  for (const signal of signals) process.on(signal, stop)
  try {
    return await work(interrupted.signal)
  } finally {
    for (const signal of signals) process.off(signal, stop)
  }
}

/** Columns as wide as their widest cell; numbers to the right. Control characters are no part of a table. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map((cell) => plain(String(cell))))
  const widths: number[] = []
  for (const row of cells) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length)
  return rows
    .map((row, index) => {
      const line = row.map((cell, at) => {
        const text = cells[index]?.[at] ?? ''
        return typeof cell === 'number' ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[at] ?? 0)
      })
      return `${line.join('  ').trimEnd()}\n`
    })
    .join('')
}

/** What comes from elsewhere must not move the cursor. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')
}
