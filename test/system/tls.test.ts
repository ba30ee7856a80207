/**
 * TLS towards clients as a whole instance does it: sessions resumed by another worker and by another instance, and
 * certificates replaced while everything runs.
 */
import assert from 'node:assert/strict'
import { randomBytes, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { makeAuthority } from '../support/certificates.ts'
import { Rig } from '../support/rig.ts'
import type { RigOptions } from '../support/rig.ts'
import { soon } from '../support/soon.ts'
import { StubImap } from '../support/stub-imap.ts'
import { makeTemporary } from '../support/temporary.ts'

interface Login {
  readonly socket: TLSSocket
  readonly reused: boolean
  /** Which certificate was shown. */
  readonly fingerprint: string | undefined
  readonly session: Buffer
  readonly worker: number
}

let count = 0

/** Logs in over TLS, offering a session, and stays: the next one then goes to another worker. */
async function logIn(rig: Rig, maxVersion: 'TLSv1.2' | 'TLSv1.3', session?: Buffer): Promise<Login> {
  const user = `user${++count}@example.com`
  const socket = connect({ port: rig.imaps, host: '127.0.0.1', ca: rig.authority.cert, servername: 'localhost', maxVersion, ...(session === undefined ? {} : { session }) })
  let ticket: Buffer | undefined
  socket.on('session', (data) => (ticket = data))
  await once(socket, 'secureConnect')
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  await soon('the greeting', () => text.startsWith('* OK '))
  socket.write(`a LOGIN ${user} secret\r\n`)
  await soon('the login', () => /^a OK/m.test(text))
  return {
    socket,
    reused: socket.isSessionReused(),
    fingerprint: socket.getPeerX509Certificate()?.fingerprint256,
    session: ticket ?? session ?? Buffer.alloc(0),
    worker: await rig.workerOf(user),
  }
}

function close(logins: readonly Login[]): void {
  for (const { socket } of logins) socket.destroy()
}

async function stubServer(): Promise<StubImap & AsyncDisposable> {
  const stub = await StubImap.start({ name: 'one', tls: 'plain' })
  return Object.assign(stub, { [Symbol.asyncDispose]: () => stub.stop() })
}

const towards = (stub: StubImap, tls: Readonly<Record<string, unknown>> = {}): RigOptions => ({
  destinations: { one: { port: stub.port, tls: 'plain' } },
  tables: { tls },
})

describe('a TLS session', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`is resumed by another worker of the same instance: ${version}`, async () => {
      await using stub = await stubServer()
      await using rig = await Rig.start(towards(stub))
      const first = await logIn(rig, version)
      const second = await logIn(rig, version, first.session)
      assert.notEqual(second.worker, first.worker)
      assert.deepEqual([first.reused, second.reused], [false, true])
      close([first, second])
    })

    it(`is resumed by another instance with the same ticket_key_file, and by none with another: ${version}`, async () => {
      await using stub = await stubServer()
      const keys = await makeTemporary('tickets')
      const path = join(keys.path, 'keys')
      const authority = await makeAuthority()
      try {
        await writeFile(path, randomBytes(48), { mode: 0o600 })
        const options = { ...towards(stub, { ticket_key_file: path }), authority }
        await using one = await Rig.start(options)
        await using two = await Rig.start(options)
        await using stranger = await Rig.start({ ...towards(stub), authority })
        const first = await logIn(one, version)
        const second = await logIn(two, version, first.session)
        const third = await logIn(stranger, version, first.session)
        assert.deepEqual([first.reused, second.reused, third.reused], [false, true, false])
        close([first, second, third])
      } finally {
        await keys.remove()
      }
    })
  }

  it('is resumed by a worker that took the place of one that died', async () => {
    await using stub = await stubServer()
    await using rig = await Rig.start(towards(stub))
    const first = await logIn(rig, 'TLSv1.3')
    const victim = rig.box.workers().get(first.worker) ?? 0
    process.kill(victim, 'SIGKILL')
    await rig.respawned(victim)
    const others = [await logIn(rig, 'TLSv1.3', first.session), await logIn(rig, 'TLSv1.3', first.session)]
    assert.deepEqual(others.map(({ reused }) => reused), [true, true])
    assert.ok(others.some(({ worker }) => worker > 2))
    close([first, ...others])
  })
})

describe('a certificate whose files are replaced', () => {
  it('is shown by every worker and the management API from then on; sessions that live go on', async () => {
    await using stub = await stubServer()
    await using rig = await Rig.start(towards(stub, { watch: true }))
    const before = [await logIn(rig, 'TLSv1.3'), await logIn(rig, 'TLSv1.3')]
    assert.equal(new Set(before.map(({ worker }) => worker)).size, 2)
    const renewed = await rig.authority.issue({ names: ['localhost', '127.0.0.1'] })
    const { fingerprint256: wanted } = new X509Certificate(renewed.cert)
    // One after the other, as tools do it.
    for (const [name, text] of [['cert.pem', renewed.cert], ['key.pem', renewed.key]] as const) {
      await writeFile(join(rig.directory, `${name}.new`), text, { mode: 0o600 })
      await rename(join(rig.directory, `${name}.new`), join(rig.directory, name))
    }
    const line = await rig.box.line(({ event }) => event === 'certificate_renewed')
    assert.equal(line['certificate'], 'test')
    const shown = await soon('every worker shows it', async () => {
      const logins = [await logIn(rig, 'TLSv1.3'), await logIn(rig, 'TLSv1.3')]
      close(logins)
      return logins.every(({ fingerprint }) => fingerprint === wanted) && logins
    })
    assert.equal(new Set(shown.map(({ worker }) => worker)).size, 2)
    assert.equal((await rig.admin.request('GET', '/stats')).status, 200)
    assert.equal(await managementCertificate(rig), wanted)
    for (const { socket } of before) {
      socket.write('b NOOP\r\n')
      await once(socket, 'data')
    }
    // A worker that starts later begins with it.
    const [[, victim] = []] = [...rig.box.workers()]
    assert.ok(victim !== undefined)
    process.kill(victim, 'SIGKILL')
    await rig.respawned(victim)
    const later = [await logIn(rig, 'TLSv1.3'), await logIn(rig, 'TLSv1.3'), await logIn(rig, 'TLSv1.3')]
    assert.ok(later.some(({ worker }) => worker > 2))
    assert.deepEqual(new Set(later.map(({ fingerprint }) => fingerprint)), new Set([wanted]))
    assert.ok(!rig.box.lines.some(({ event }) => event === 'certificate_broken'))
    close([...before, ...later])
  })
})

async function managementCertificate(rig: Rig): Promise<string | undefined> {
  const socket = connect({ port: rig.management, host: '127.0.0.1', ca: rig.authority.cert, servername: 'localhost' })
  await once(socket, 'secureConnect')
  const fingerprint = socket.getPeerX509Certificate()?.fingerprint256
  socket.destroy()
  return fingerprint
}
