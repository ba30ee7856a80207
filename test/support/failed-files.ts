/**
 * A reporter for Node's test runner that writes the files in which something failed, one a line, for test/run.ts.
 */
import { relative } from 'node:path'
import type { TestEvent } from 'node:test/reporters'

export default async function* failedFiles(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const files = new Set<string>()
  for await (const event of source) {
    if (event.type !== 'test:fail') continue
    const file = event.data.file ?? event.data.name
    if (files.has(file)) continue
    files.add(file)
    yield `${relative(process.cwd(), file)}\n`
  }
}
