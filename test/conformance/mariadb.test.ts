/** MariaDB as a source, under the suite for all sources, over a real server. */
import { after, before } from 'node:test'
import type { Connection } from 'mysql2/promise'
import { MariadbServer } from '../support/mariadb.ts'
import { MYSQL_SCHEMA, MYSQL_STATEMENTS } from '../support/sql-schemas.ts'
import { mappingSourceSuite } from './mapping-source.ts'
import { sqlFixture, sqlOptions } from './sql-fixture.ts'

let server: MariadbServer
let hand: Connection

before(async () => {
  server = await MariadbServer.start()
  hand = await server.hand()
  await hand.query(MYSQL_SCHEMA)
})
after(() => server[Symbol.asyncDispose]())

mappingSourceSuite('MariaDB', {
  ordered: true,
  watchable: false,
  async make() {
    await hand.query('DELETE FROM routes')
    await hand.query('DROP TABLE IF EXISTS signalbox_leases')
    return sqlFixture(sqlOptions(server.url(), MYSQL_STATEMENTS), async (identifier, destination) => {
      if (destination === undefined) await hand.execute('DELETE FROM routes WHERE identifier = ?', [identifier])
      else await hand.execute(MYSQL_STATEMENTS.upsertQuery ?? '', [identifier, destination])
    })
  },
})
