/** What a test has opened is closed at its end, however it ends. */
import type { TestContext } from 'node:test'

/** Resolves with what has been opened. */
export async function closedAfter<T extends { close(): Promise<unknown> }>(t: TestContext, opening: Promise<T>): Promise<T> {
  const opened = await opening
  t.after(() => opened.close())
  return opened
}
