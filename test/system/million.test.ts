/**
 * A million mappings: loaded at start, changed durably while clients are served, and held once, by the primary, however
 * many workers ask it.
 */
import assert from 'node:assert/strict'
import { createWriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { Premises } from '../support/premises.ts'
import type { Signalbox } from '../support/signalbox.ts'
import { StubImap } from '../support/stub-imap.ts'
import { WireClient } from '../support/wire-client.ts'

const ACCOUNTS = 1_000_000
const FEW = 10
/** The table takes 50 to 60 MB. What a worker costs differs from start to start by less than half of this. */
const MARGIN_KB = 24_000

function account(index: number): string {
  return `user${String(index).padStart(7, '0')}@example.com`
}

async function writeMappings(path: string, count: number): Promise<void> {
  const file = createWriteStream(path)
  for (let index = 0; index < count; index += 10_000) {
    const lines: string[] = []
    for (let at = index; at < Math.min(index + 10_000, count); at++) lines.push(`${account(at)}\tone\n`)
    if (!file.write(lines.join(''))) await once(file, 'drain')
  }
  file.end()
  await once(file, 'close')
}

/** Memory that would be free without this process (shared pages in proportion), in KB. */
async function proportional(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kilobytes = Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1])
  assert.ok(kilobytes > 0, rollup)
  return kilobytes
}

describe('a million mappings', () => {
  let stub: StubImap

  before(async () => {
    stub = await StubImap.start({ name: 'one', tls: 'plain' })
  })
  after(() => stub.stop())

  /** An instance on a file of that many mappings. */
  async function start(premises: Premises, count: number): Promise<Signalbox> {
    await writeMappings(premises.at('mappings'), count)
    return premises.start(premises.config())
  }

  /** The same use of both: logins, a look-up in every worker, a change. What a worker takes then, the largest. */
  async function used(premises: Premises, box: Signalbox, count: number): Promise<number> {
    for (let login = 0; login < 20; login++) {
      const client = await WireClient.connect({ port: premises.imaps, ca: premises.authority.cert })
      await client.until(/^\* OK .*\r\n/)
      assert.match(await client.command(`a LOGIN ${account((login * 7_919) % count)} secret`), /^a OK/m)
      client.destroy()
    }
    for (const index of [0, count - 1]) {
      const answer = await box.admin.lookup(account(index), { workers: 'all' })
      assert.match(answer.body, /"routed_to_default":false/)
      assert.doesNotMatch(answer.body, /"routed_to_default":true/)
    }
    const put = await box.admin.put('zoe@example.com', 'one')
    assert.equal(put.status, 200, put.body)
    const sizes = await Promise.all([...box.workers().values()].map(proportional))
    assert.equal(sizes.length, 2)
    return Math.max(...sizes)
  }

  it('are in force in every worker, cost no worker any memory, and a PUT is in the file when it is answered', async () => {
    let few: number
    {
      await using premises = await Premises.make({ backend: stub.port })
      few = await used(premises, await start(premises, FEW), FEW)
    }
    await using premises = await Premises.make({ backend: stub.port })
    const box = await start(premises, ACCOUNTS)
    const many = await used(premises, box, ACCOUNTS)
    assert.ok(many < few + MARGIN_KB, `a worker takes ${few} KB with ${FEW} mappings, ${many} KB with ${ACCOUNTS}`)
    const [put, removed] = await Promise.all([box.admin.put('amy@example.com', 'one'), box.admin.delete(account(500_000))])
    assert.deepEqual([put.status, removed.status], [200, 200], put.body + removed.body)
    // Killed in the same moment: what was answered must be there at the next start.
    await box.stop('SIGKILL')
    const file = await readFile(premises.at('mappings'))
    assert.ok(file.includes('amy@example.com\tone\n') && file.includes('zoe@example.com\tone\n'))
    assert.ok(!file.includes(account(500_000)))
    let lines = 0
    for (let at = file.indexOf(10); at >= 0; at = file.indexOf(10, at + 1)) lines++
    assert.equal(lines, ACCOUNTS + 2 - 1)
  })
})
