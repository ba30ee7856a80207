/** SQLite as a source, under the suite for all sources. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { SQLITE_SCHEMA, SQLITE_STATEMENTS } from '../support/sql-schemas.ts'
import { makeTemporary } from '../support/temporary.ts'
import { mappingSourceSuite } from './mapping-source.ts'
import { sqlFixture, sqlOptions } from './sql-fixture.ts'

mappingSourceSuite('SQLite', {
  ordered: true,
  watchable: false,
  async make() {
    const directory = await makeTemporary('sqlite')
    const path = join(directory.path, 'mail.db')
    const hand = new DatabaseSync(path, { timeout: 5_000 })
    hand.exec(SQLITE_SCHEMA)
    const fixture = await sqlFixture(sqlOptions(`sqlite://${path}`, SQLITE_STATEMENTS), (identifier, destination) => {
      if (destination === undefined) hand.prepare('DELETE FROM routes WHERE identifier = ?').run(identifier)
      else hand.prepare(SQLITE_STATEMENTS.upsertQuery ?? '').run(identifier, destination)
      return Promise.resolve()
    })
    return {
      ...fixture,
      async dispose() {
        await fixture.dispose()
        hand.close()
        await directory.remove()
      },
    }
  },
})
