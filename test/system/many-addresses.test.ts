/** An instance that listens on many addresses: Node's bookkeeping of handed-out sockets is one list for each of them. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { freePorts } from '../support/ports.ts'
import { Premises } from '../support/premises.ts'
import { WireClient } from '../support/wire-client.ts'

test('connections over forty addresses, twenty of them of before a reload, lead to no warning of a leak', async () => {
  await using premises = await Premises.make()
  const ports = await freePorts(40)
  const config = (part: readonly number[]): string => {
    const tables = premises.tables()
    const listener = (chosen: readonly number[]) => ({ protocol: 'imap', tls: 'starttls', bind: chosen.map((port) => `127.0.0.1:${port}`) })
    return premises.config({ ...tables, server: { threads: 1 }, listener: { imap: listener(part.slice(0, 10)), imaps: listener(part.slice(10)) } })
  }
  const box = await premises.start(config(ports.slice(0, 20)))
  const visit = async (part: readonly number[]): Promise<void> => {
    const clients = await Promise.all(part.map((port) => WireClient.connect({ port })))
    for (const client of clients) await client.until(/^\* OK .*\r\n/)
    for (const client of clients) client.destroy()
  }
  await visit(ports.slice(0, 20))
  await writeFile(box.path, config(ports.slice(20)))
  box.signal('SIGHUP')
  await box.line(({ event }) => event === 'config_reloaded')
  await visit(ports.slice(20))
  assert.equal((await box.stop()).code, 0)
  assert.equal(box.errors, '')
  assert.deepEqual(box.lines.filter((line) => line['event'] === undefined || line['event'] === 'process_warning'), [])
})
