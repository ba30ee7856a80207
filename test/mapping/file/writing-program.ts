/**
 * A process that writes to a mapping file until it is stopped, for the tests of failures. Its arguments: the path and
 * what to do. It prints one line per step.
 */
import { systemClock } from '../../../src/clock.ts'
import { SignalboxError } from '../../../src/errors.ts'
import { openFileSource } from '../../../src/mapping/file/source.ts'

const [path = '', what = '', shared = ''] = process.argv.slice(2)

const source = await openFileSource({
  config: { path, watch: false, shared: shared === 'shared' },
  normalize: 'none',
  destinations: ['legacy', 'stalwart'],
  clock: systemClock,
  warn: (message) => print(`warning ${message}`),
})

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function outcome(name: string, step: Promise<unknown>): Promise<void> {
  try {
    await step
    print(`${name} ok`)
  } catch (error) {
    print(`${name} ${error instanceof SignalboxError ? error.code : 'other'} ${String(error)}`)
  }
}

if (what === 'for-ever') {
  for (let i = 0; ; i++) {
    await source.put(`put${i}`, 'stalwart')
    print(`put${i}`)
  }
} else {
  // The process may not write files as long as the one that a change makes.
  await Promise.all([outcome('put', source.put('new', 'stalwart')), outcome('delete', source.delete('user00007'))])
  print(`found ${source.find('new')} ${source.find('user00007')}`)
  const many = Array.from({ length: 20_000 }, (_, i) => ({ identifier: `import${i}`, destination: 'legacy' }))
  await outcome('import', source.import(many, 'merge'))
  await outcome('replace', source.import(many, 'replace'))
  print(`found ${source.find('import1')} ${source.find('user00007')}`)
  await outcome('fit', source.import([{ identifier: 'only', destination: 'stalwart' }], 'replace'))
  print(`found ${source.find('only')} ${source.find('user00007')}`)
  await source.close()
}
