/**
 * A reporter for Node's test runner that writes the files in which something failed, one a line, for test/run.ts.
 *
 * A failure names the file that the test stands in, which may be a suite that several test files share; which of them ran it is
 * said by their summaries. A file that ended before it had one is named by the failure itself.
 */
import { relative } from 'node:path'
import type { TestEvent } from 'node:test/reporters'

export default async function* failedFiles(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files = new Set<string>()
  for await (const event of source) {
    const file = fileOf(event)
    if (file === undefined || files.has(file)) continue
    files.add(file)
    yield `${relative(process.cwd(), file)}\n`
  }
}

function fileOf(event: TestEvent): string | undefined {
  if (event.type === 'test:fail') return event.data.file ?? event.data.name
  return event.type === 'test:summary' && !event.data.success ? event.data.file : undefined
}
