/** Redis as a source, under the suite for all sources, over a real server. */
import { after, before } from 'node:test'
import type { Redis } from 'ioredis'
import { systemClock } from '../../src/clock.ts'
import { openRedisSource, type RedisSource } from '../../src/mapping/redis/source.ts'
import { programPath } from '../support/programs.ts'
import { RedisServer } from '../support/redis.ts'
import { KeptLog } from '../support/source-log.ts'
import { mappingSourceSuite } from './mapping-source.ts'

let server: RedisServer
let hand: Redis

before(async () => {
  programPath('redis-server')
  server = await RedisServer.start()
  hand = server.client()
})
after(() => server[Symbol.asyncDispose]())

mappingSourceSuite('Redis', {
  ordered: false,
  async make({ watch }) {
    await hand.flushall()
    const open = (): Promise<RedisSource> =>
      openRedisSource({
        url: server.url,
        keyPrefix: 'route:',
        lookupTimeout: 5_000,
        clock: systemClock,
        log: new KeptLog(),
        watch,
        heartbeat: 1_000,
        waitReplicas: 0,
      })
    const source = await open()
    const others: RedisSource[] = []
    return {
      source,
      async reopen() {
        const other = await open()
        others.push(other)
        return other
      },
      async outside(identifier, destination) {
        if (destination === undefined) await hand.del(`route:${identifier}`)
        else await hand.set(`route:${identifier}`, destination)
      },
      async dispose() {
        for (const one of [source, ...others]) await one.close()
      },
    }
  },
})
