/** PostgreSQL as a source, under the suite for all sources, over a real server with the trigger of docs/sql.md. */
import { after, before } from 'node:test'
import type { Client } from 'pg'
import { PostgresServer } from '../support/postgres.ts'
import { POSTGRES_SCHEMA, POSTGRES_STATEMENTS } from '../support/sql-schemas.ts'
import { mappingSourceSuite } from './mapping-source.ts'
import { sqlFixture, sqlOptions } from './sql-fixture.ts'

let server: PostgresServer
let hand: Client

before(async () => {
  server = await PostgresServer.start()
  hand = await server.hand()
  await hand.query(POSTGRES_SCHEMA)
})
after(() => server[Symbol.asyncDispose]())

mappingSourceSuite('PostgreSQL', {
  ordered: true,
  async make({ watch }) {
    await hand.query('TRUNCATE routes')
    await hand.query('DROP TABLE IF EXISTS signalbox_leases')
    const listen = watch ? 'routes_changed' : undefined
    return sqlFixture(sqlOptions(server.url(), POSTGRES_STATEMENTS, { listen }), async (identifier, destination) => {
      if (destination === undefined) await hand.query('DELETE FROM routes WHERE identifier = $1', [identifier])
      else await hand.query(POSTGRES_STATEMENTS.upsertQuery ?? '', [identifier, destination])
    })
  },
})
