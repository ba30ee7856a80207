/** A Redis server of a question's own, on a port of its own, without a disk. */
import { findProgram } from '../test/support/programs.ts'
import { RedisServer } from '../test/support/redis.ts'
import type { Bench } from './question.ts'

/** Gives its URL; undefined: it is not installed, and that is noted beside `subject`. It ends with the question. */
export async function startRedis(bench: Bench, subject: string): Promise<string | undefined> {
  if (findProgram('redis-server') === undefined) {
    bench.missing(subject, 'redis-server is not installed')
    return undefined
  }
  return bench.use(await RedisServer.start()).url
}
