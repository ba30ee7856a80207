import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { systemClock } from '../../src/clock.ts'
import type { DestinationConfig } from '../../src/config/config.ts'
import { BackendDialer } from '../../src/destination/dialer.ts'
import { SignalboxError } from '../../src/errors.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority, Issued } from '../support/certificates.ts'
import { loginOf, requestOf, serverConfigOf } from '../support/fake-backend.ts'
import { freePorts } from '../support/ports.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { soon } from '../support/soon.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

/** OpenSSL's own server, which ends the handshake of a client without a certificate from the authority. */
describe('a server that demands a client certificate', { skip: skipWithout('openssl') }, () => {
  let temporary: Temporary
  let authority: Authority
  let stranger: Authority
  let mine: Issued
  let server: ChildProcessWithoutNullStreams | undefined
  const outcomes: string[] = []

  before(async () => {
    temporary = await makeTemporary('client-certificate', 0o755)
    authority = await makeAuthority()
    stranger = await makeAuthority('Another CA')
    mine = await authority.issue({ names: ['proxy'], client: true })
    const good = await authority.issue({ names: ['mail.example.com'] })
    for (const [name, text] of Object.entries({ 'ca.pem': authority.cert, 'cert.pem': good.cert, 'key.pem': good.key })) {
      await writeFile(join(temporary.path, name), text)
    }
  })
  after(() => temporary.remove())
  afterEach(() => {
    server?.kill('SIGKILL')
    outcomes.length = 0
  })

  async function listen(version: '-tls1_2' | '-tls1_3'): Promise<number> {
    const [port = 0] = await freePorts(1)
    const demands = ['-Verify', '1', '-verify_return_error', '-CAfile', 'ca.pem']
    const started = spawn(
      programPath('openssl'),
      ['s_server', '-accept', `127.0.0.1:${port}`, '-cert', 'cert.pem', '-key', 'key.pem', version, '-quiet', ...demands],
      { cwd: temporary.path },
    )
    server = started
    // It sends its standard input to whoever is connected.
    started.stdout.on('data', (chunk: Buffer) => {
      if (chunk.toString().startsWith('LOGIN ')) started.stdin.write('YES\n')
    })
    started.stderr.resume()
    await soon('the server listens', () => listens(port))
    return port
  }

  function dial(port: number, keys: Partial<DestinationConfig>) {
    const dialer = new BackendDialer({
      server: serverConfigOf({ backendConnectRetries: 0 }),
      clock: systemClock,
      report: (_destination, _client, outcome) => outcomes.push(outcome.ok ? 'ok' : `${outcome.phase} ${outcome.error.code}`),
    })
    const destination = { tlsServerName: 'mail.example.com', ca: authority.cert, allowPlaintextAuth: false, ...keys }
    return dialer.dial(requestOf(port, 'implicit', destination), new AbortController().signal)
  }

  for (const version of ['-tls1_2', '-tls1_3'] as const) {
    it(`takes ours and lets the login through: ${version}`, async () => {
      const port = await listen(version)
      const dialled = dial(port, { clientCert: mine.cert, clientKey: mine.key })
      server?.stdin.write('HELLO there\n')
      const backend = await dialled
      assert.equal((await backend.replay(loginOf('ann'))).kind, 'accepted')
      backend.release().socket.destroy()
      assert.deepEqual(outcomes, ['ok'])
    })

    it(`is BACKEND_TLS without one, and with one of somebody else's authority: ${version}`, async () => {
      const port = await listen(version)
      const isTls = (error: unknown): boolean => error instanceof SignalboxError && error.code === 'BACKEND_TLS'
      await assert.rejects(dial(port, {}), isTls)
      const foreign = await stranger.issue({ names: ['proxy'], client: true })
      await assert.rejects(dial(port, { clientCert: foreign.cert, clientKey: foreign.key }), isTls)
      assert.deepEqual(outcomes, ['after BACKEND_TLS', 'after BACKEND_TLS'])
    })
  }
})

/** Whether somebody listens there, without connecting: a server for one client at a time would be busy with us. */
async function listens(port: number): Promise<boolean> {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  return new RegExp(`^ *\\d+: 0100007F:${hex} 00000000:0000 0A `, 'm').test(await readFile('/proc/net/tcp', 'utf8'))
}
