/** The mapping file as a source, under the suite for all sources. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import { openFileSource } from '../../src/mapping/file/source.ts'
import type { MappingSource } from '../../src/mapping/source.ts'
import { makeTemporary } from '../support/temporary.ts'
import { DESTINATIONS, mappingSourceSuite } from './mapping-source.ts'

for (const shared of [false, true]) {
  mappingSourceSuite(shared ? 'a file that instances share' : 'a file', {
    ordered: true,
    leasesShared: shared,
    async make({ watch }) {
      const directory = await makeTemporary('mapping')
      const path = join(directory.path, 'mappings')
      await writeFile(path, '')
      const warn = (): void => undefined
      const open = (): ReturnType<typeof openFileSource> =>
        openFileSource({
          config: { path, watch, shared },
          normalize: 'none',
          destinations: DESTINATIONS,
          clock: systemClock,
          warn,
        })
      const source = await open()
      const others: MappingSource[] = []
      return {
        source,
        async reopen() {
          const other = await open()
          others.push(other)
          return other
        },
        async outside(identifier, destination) {
          const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => !line.startsWith(`${identifier}\t`))
          if (destination !== undefined) lines.unshift(`${identifier}\t${destination}`)
          await writeFile(`${path}.new`, lines.join('\n'))
          await rename(`${path}.new`, path)
        },
        async dispose() {
          for (const one of [source, ...others]) await one.close()
          await directory.remove()
        },
      }
    },
  })
}
