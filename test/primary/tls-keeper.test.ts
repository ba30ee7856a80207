import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { TestContext } from 'node:test'
import type { CertificateConfig, TlsConfig } from '../../src/config/config.ts'
import { CERTIFICATE_LOOK_MS, CERTIFICATE_PATIENCE_MS, TICKET_KEYS_MS } from '../../src/limits.ts'
import { TlsKeeper } from '../../src/primary/tls-keeper.ts'
import type { TlsChange } from '../../src/tls/inbound.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Issued } from '../support/certificates.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventually } from '../support/settled.ts'
import { pino } from 'pino'
import { makeTemporary } from '../support/temporary.ts'
import { tlsConfigOf } from '../support/tls-config.ts'

const authority = await makeAuthority()
const directory = await makeTemporary('keeper')
after(() => directory.remove())
let count = 0

/** Certificates are of today. */
class Today extends FakeClock {
  override wall(): number {
    return Date.now()
  }
}

function recorder() {
  const lines: Record<string, unknown>[] = []
  return { lines, log: pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) }) }
}

async function room(context: TestContext, options: { watch?: boolean; keys?: Buffer; subjectsSet?: boolean } = {}) {
  const at = (name: string): string => join(directory.path, `${count}-${name}`)
  count++
  const clock = new Today()
  const issued = await authority.issue({ names: ['one.test'] })
  const put = async ({ cert, key }: Partial<Issued>): Promise<void> => {
    if (cert !== undefined) await writeFile(at('cert'), cert)
    if (key !== undefined) await writeFile(at('key'), key)
  }
  await put(issued)
  if (options.keys !== undefined) await writeFile(at('tickets'), options.keys)
  const certificate: CertificateConfig = {
    name: 'main',
    certPath: at('cert'),
    keyPath: at('key'),
    ...issued,
    subjects: ['one.test'],
    subjectsSet: options.subjectsSet ?? false,
    default: true,
  }
  const config: TlsConfig = tlsConfigOf({
    certificates: [certificate],
    watch: options.watch ?? true,
    ticketKeyFile: options.keys === undefined ? undefined : at('tickets'),
  })
  const { log, lines } = recorder()
  const published: TlsChange[] = []
  const keeper = new TlsKeeper({ config, clock, log, publish: (change) => published.push(change) })
  await keeper.open()
  context.after(() => {
    keeper.close()
    assert.equal(clock.pending, 0, 'no timer is left')
  })
  const events = (): unknown[] => lines.map(({ event }) => event)
  /** Looks, with the real file system in between, until it is so. */
  const looks = (what: string, until: () => boolean): Promise<void> =>
    eventually(() => {
      clock.advance(CERTIFICATE_LOOK_MS)
      return until()
    }, what)
  return { at, clock, put, keeper, published, lines, events, looks, issued }
}

test('a certificate whose files are replaced one after the other is published once, with the names it has itself', async (context) => {
  const { keeper, put, published, looks, events, lines } = await room(context)
  const next = await authority.issue({ names: ['two.test'] })
  assert.equal(keeper.version, 0)
  await put({ cert: next.cert })
  // The pair doesn't fit for some looks.
  let looked = 0
  await looks('some looks', () => ++looked > 5)
  assert.deepEqual([published.length, events()], [0, []])
  await put({ key: next.key })
  await looks('the change', () => published.length > 0)
  const [change] = published
  assert.ok(change?.kind === 'certificate')
  assert.equal(change.certificate.cert, next.cert)
  assert.equal(change.certificate.key, next.key)
  assert.deepEqual(change.certificate.subjects, ['two.test'])
  assert.equal(keeper.config.certificates[0]?.cert, next.cert)
  assert.deepEqual(events(), ['certificate_renewed'])
  assert.equal(lines[0]?.['certificate'], 'main')
  assert.deepEqual([keeper.version, keeper.since(0), keeper.since(1)], [1, published, []])
})

test('names that the configuration gives stay', async (context) => {
  const { put, published, looks } = await room(context, { subjectsSet: true })
  await put(await authority.issue({ names: ['two.test'] }))
  await looks('the change', () => published.length > 0)
  assert.deepEqual(published[0]?.kind === 'certificate' && published[0].certificate.subjects, ['one.test'])
})

test('a pair that stays broken keeps the old one in use and is said once', async (context) => {
  const { keeper, put, published, looks, events, lines, issued } = await room(context)
  const other = await authority.issue({ names: ['two.test'] })
  await put({ key: other.key })
  await looks('the complaint', () => events().length > 0)
  let looked = 0
  await looks('further looks', () => ++looked > CERTIFICATE_PATIENCE_MS / CERTIFICATE_LOOK_MS)
  assert.deepEqual(events(), ['certificate_broken'])
  assert.match(String(lines[0]?.['reason']), /tls\.certificate\.main\.key: does not belong to the certificate in cert/)
  assert.deepEqual([published, keeper.config.certificates[0]?.key], [[], issued.key])
  await put({ cert: other.cert })
  await looks('the change', () => published.length > 0)
  assert.deepEqual(events(), ['certificate_broken', 'certificate_renewed'])
})

test('files that are written again as they were change nothing', async (context) => {
  const { put, published, looks, issued } = await room(context)
  await put(issued)
  let looked = 0
  await looks('some looks', () => ++looked > 8)
  assert.deepEqual(published, [])
})

test('without watch nobody looks', async (context) => {
  const { put, published, looks } = await room(context, { watch: false })
  await put(await authority.issue({ names: ['two.test'] }))
  let looked = 0
  await looks('some looks', () => ++looked > 8)
  assert.deepEqual(published, [])
})

test('keys that were made here are replaced after a day, and not before', async (context) => {
  const { keeper, clock, published, lines } = await room(context, { watch: false })
  const first = keeper.ticketKeys
  assert.equal(first.length, 48)
  clock.advance(TICKET_KEYS_MS - 1)
  assert.deepEqual(published, [])
  clock.advance(1)
  assert.deepEqual(published, [{ kind: 'ticket-keys', keys: keeper.ticketKeys }])
  assert.notDeepEqual(keeper.ticketKeys, first)
  assert.deepEqual(lines.map(({ event, origin }) => [event, origin]), [['ticket_keys_renewed', 'made']])
  assert.deepEqual([keeper.since(0), keeper.since(1)], [published, []])
})

test('the keys of a file are used as they are, stay for more than a day, and are read again when it is replaced', async (context) => {
  const keys = randomBytes(48)
  const { at, keeper, clock, published, looks, lines, events } = await room(context, { keys })
  assert.deepEqual(keeper.ticketKeys, keys)
  clock.advance(TICKET_KEYS_MS + 1)
  assert.deepEqual(keeper.ticketKeys, keys)
  await writeFile(at('tickets'), randomBytes(47))
  await looks('the complaint', () => events().length > 0)
  assert.deepEqual([lines[0]?.['event'], lines[0]?.['reason']], ['ticket_keys_broken', 'ticket keys are 48 bytes, not 47'])
  assert.deepEqual(keeper.ticketKeys, keys)
  const next = randomBytes(48)
  await writeFile(at('tickets'), next)
  await looks('the change', () => published.length > 0)
  assert.deepEqual(published, [{ kind: 'ticket-keys', keys: next }])
})

test('a file of another length ends the start', async () => {
  const path = join(directory.path, 'short')
  for (const length of [0, 47, 49]) {
    await writeFile(path, randomBytes(length))
    const keeper = new TlsKeeper({ config: tlsConfigOf({ ticketKeyFile: path }), clock: new FakeClock(), log: recorder().log, publish: () => {} })
    await assert.rejects(keeper.open(), { code: 'CONFIG_INVALID', message: `ticket keys are 48 bytes, not ${length}` })
    keeper.close()
  }
})

test('another configuration brings its certificates and keys, all of them or none, and is watched from then on', async (context) => {
  const { keeper, at, put, published, looks, issued, clock } = await room(context)
  const made = keeper.ticketKeys
  const { version } = keeper
  const other = await authority.issue({ names: ['two.test'] })
  const base = { certPath: at('cert'), keyPath: at('key'), ...issued, subjects: ['one.test'], subjectsSet: false, default: true }
  const next = await keeper.prepare(tlsConfigOf({ certificates: [{ name: 'other', ...base }], watch: true }))
  assert.deepEqual([keeper.config.certificates.map(({ name }) => name), keeper.version], [['main'], version])
  // Made ones stay: sessions that clients have go on being resumed.
  assert.equal(next.ticketKeys, made)
  next.use()
  assert.deepEqual(keeper.config.certificates.map(({ name }) => name), ['other'])
  assert.ok(keeper.version > version)
  assert.equal(published.length, 0)
  await put(other)
  await looks('it is loaded', () => published.length > 0)
  const names = published.map((change) => (change.kind === 'certificate' ? [change.certificate.name, ...change.certificate.subjects] : []))
  assert.deepEqual(names, [['other', 'two.test']])
  // From a file, and not again with the clock.
  const keys = randomBytes(48)
  await writeFile(at('tickets'), keys)
  const filed = await keeper.prepare(tlsConfigOf({ ticketKeyFile: at('tickets') }))
  assert.deepEqual(Buffer.from(filed.ticketKeys), keys)
  filed.use()
  const had = published.length
  clock.advance(TICKET_KEYS_MS * 2)
  assert.equal(published.length, had)
  assert.deepEqual(Buffer.from(keeper.ticketKeys), keys)
  // And without it they are not ours to use any longer.
  const without = await keeper.prepare(tlsConfigOf())
  assert.notDeepEqual(Buffer.from(without.ticketKeys), keys)
  await assert.rejects(keeper.prepare(tlsConfigOf({ ticketKeyFile: at('nowhere') })), { code: 'CONFIG_INVALID' })
  assert.deepEqual(Buffer.from(keeper.ticketKeys), keys)
})
