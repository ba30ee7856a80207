/** The policy and the choice of certificates as clients that aren't ours see them: OpenSSL's s_client and Python's ssl. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { TlsConfig } from '../../src/config/config.ts'
import { TLS_TICKET_SECONDS } from '../../src/limits.ts'
import type { InboundTls } from '../../src/tls/inbound.ts'
import { createInboundTls } from '../../src/tls/server.ts'
import { selfSigned } from '../../src/tls/self-signed.ts'
import { makeAuthority } from '../support/certificates.ts'
import type { Authority, Issued } from '../support/certificates.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'
import { certificateOf, tlsConfigOf } from '../support/tls-config.ts'

describe('clients of other makers', { skip: skipWithout('openssl', 'python3') }, () => {
  let authority: Authority
  let temporary: Temporary
  const issued = new Map<string, Issued>()
  let inbound: InboundTls
  let server: Server
  let port: number

  before(async () => {
    authority = await makeAuthority()
    temporary = await makeTemporary('openssl')
    await writeFile(join(temporary.path, 'ca.pem'), authority.cert)
    const names: Readonly<Record<string, readonly string[]>> = {
      bare: ['example.com'],
      exact: ['mail.example.com'],
      wild: ['*.example.org'],
      fallback: ['default.test'],
    }
    for (const [name, list] of Object.entries(names)) issued.set(name, await authority.issue({ names: list }))
    server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {})
      inbound.accept(socket, new AbortController().signal).then(
        (secured) => {
          secured.on('error', () => {})
          secured.end('hello\n')
          secured.resume()
        },
        () => {},
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  })
  after(async () => {
    server.close()
    await temporary.remove()
  })

  function serve(over: Partial<TlsConfig> = {}): void {
    const one = (name: string, subjects: readonly string[], isDefault = false) =>
      certificateOf(name, issued.get(name) ?? { cert: '', key: '' }, subjects, isDefault)
    const certificates = [
      one('bare', ['example.com']),
      one('exact', ['mail.example.com']),
      one('wild', ['*.example.org']),
      one('fallback', ['default.test'], true),
    ]
    inbound = createInboundTls(tlsConfigOf({ certificates, ...over }), randomBytes(48))
  }

  /** What s_client says of a handshake: its status, and `Protocol`, `Cipher`, `subject`. */
  async function handshake(...more: readonly string[]) {
    const outcome = await new Promise<{ readonly failed: boolean; readonly text: string }>((resolve) => {
      const child = execFile(
        programPath('openssl'),
        ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', join(temporary.path, 'ca.pem'), ...more],
        (error, stdout, stderr) => resolve({ failed: error !== null, text: stdout + stderr }),
      )
      child.stdin?.end()
    })
    const found = (pattern: RegExp): string => pattern.exec(outcome.text)?.[1] ?? ''
    return {
      failed: outcome.failed,
      reused: /^Reused, /m.test(outcome.text),
      subject: found(/^ *subject=CN ?= ?(.*)$/m),
      version: found(/^New, (TLSv1\.\d), Cipher is \S+$/m),
      suite: found(/^New, TLSv1\.\d, Cipher is (\S+)$/m),
    }
  }

  it('are shown the certificate of the name, of its parent, or the default one', async () => {
    serve()
    const expected: readonly (readonly [string, string])[] = [
      ['example.com', 'example.com'],
      ['EXAMPLE.com', 'example.com'],
      ['mail.example.com', 'mail.example.com'],
      ['imap.example.com', 'example.com'],
      ['a.mail.example.com', 'mail.example.com'],
      ['a.b.example.com', 'default.test'],
      ['host.example.org', '*.example.org'],
      ['example.org', 'default.test'],
      ['nowhere.invalid', 'default.test'],
    ]
    for (const [name, subject] of expected) assert.equal((await handshake('-servername', name)).subject, subject, name)
    assert.equal((await handshake('-noservername')).subject, 'default.test')
  })

  it('are shown the only certificate, or the self-signed one, whatever they ask for', async () => {
    serve({ certificates: [certificateOf('exact', issued.get('exact') ?? { cert: '', key: '' }, ['mail.example.com'])] })
    for (const name of ['mail.example.com', 'nowhere.invalid']) assert.equal((await handshake('-servername', name)).subject, 'mail.example.com')
    inbound = createInboundTls(tlsConfigOf(), randomBytes(48), await selfSigned(['here.test']))
    for (const name of ['here.test', 'nowhere.invalid']) assert.equal((await handshake('-servername', name)).subject, 'here.test')
  })

  it('may resume a session under another name, and see the certificate of the first', async () => {
    serve()
    const kept = join(temporary.path, 'session')
    for (const version of ['-tls1_2', '-tls1_3']) {
      // With its input at an end s_client leaves before a ticket of TLS 1.3 has come: -ign_eof waits for the server's end.
      const first = await handshake(version, '-ign_eof', '-servername', 'mail.example.com', '-sess_out', kept)
      assert.deepEqual([first.reused, first.subject], [false, 'mail.example.com'])
      for (const name of ['mail.example.com', 'host.example.org']) {
        const again = await handshake(version, '-ign_eof', '-servername', name, '-sess_in', kept)
        assert.deepEqual([again.reused, again.subject], [true, 'mail.example.com'], `${version} ${name}`)
      }
    }
  })

  it('are told how long a ticket is good for', async () => {
    serve()
    const kept = join(temporary.path, 'session')
    for (const version of ['-tls1_2', '-tls1_3']) {
      await handshake(version, '-ign_eof', '-servername', 'mail.example.com', '-sess_out', kept)
      const { stdout } = await promisify(execFile)(programPath('openssl'), ['sess_id', '-in', kept, '-noout', '-text'])
      // The server's own word; a client that tries later gets a full handshake.
      assert.match(stdout, new RegExp(`ticket lifetime hint: ${TLS_TICKET_SECONDS} \\(seconds\\)`), version)
    }
  })

  it('speak TLS 1.2 and 1.3, 1.3 alone where that is the least, and never less', async () => {
    const weak = ['-cipher', 'ALL:@SECLEVEL=0']
    serve()
    assert.equal((await handshake('-tls1_3')).version, 'TLSv1.3')
    assert.equal((await handshake('-tls1_2')).version, 'TLSv1.2')
    for (const old of ['-tls1_1', '-tls1']) assert.equal((await handshake(old, ...weak)).failed, true, old)
    serve({ minVersion: '1.3' })
    assert.equal((await handshake()).version, 'TLSv1.3')
    assert.equal((await handshake('-tls1_2')).failed, true)
  })

  it('do not get suites that are switched off, nor those that never were on', async () => {
    serve({ disabledCipherSuites: ['ECDHE-ECDSA-AES128-GCM-SHA256', 'TLS_AES_128_GCM_SHA256'] })
    assert.equal((await handshake('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256')).failed, true)
    assert.equal((await handshake('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384')).suite, 'ECDHE-ECDSA-AES256-GCM-SHA384')
    assert.equal((await handshake('-tls1_3', '-ciphersuites', 'TLS_AES_128_GCM_SHA256')).failed, true)
    assert.equal((await handshake('-tls1_3', '-ciphersuites', 'TLS_AES_256_GCM_SHA384')).suite, 'TLS_AES_256_GCM_SHA384')
    for (const suite of ['ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384', 'NULL-SHA256']) {
      assert.equal((await handshake('-tls1_2', '-cipher', `${suite}:@SECLEVEL=0`)).failed, true, suite)
    }
  })

  it('choose among the suites by their own order, unless that is to be ignored; ChaCha20 first is theirs to choose', async () => {
    const theirs = ['-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305']
    const mobile = ['-tls1_2', '-cipher', 'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384']
    serve()
    assert.equal((await handshake(...theirs)).suite, 'ECDHE-ECDSA-AES256-GCM-SHA384')
    serve({ ignoreClientOrder: true })
    assert.equal((await handshake(...theirs)).suite, 'ECDHE-ECDSA-AES128-GCM-SHA256')
    assert.equal((await handshake(...mobile)).suite, 'ECDHE-ECDSA-CHACHA20-POLY1305')
    const modern = ['-tls1_3', '-ciphersuites', 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256']
    assert.equal((await handshake(...modern)).suite, 'TLS_AES_128_GCM_SHA256')
  })

  it('resume in Python what they began, by either version', async () => {
    serve()
    const script = `
import socket, ssl, sys
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=sys.argv[2])
    context.minimum_version = context.maximum_version = version
    session = None
    for expected in (False, True):
        with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as plain:
            with context.wrap_socket(plain, server_hostname='mail.example.com', session=session) as secured:
                assert secured.recv(100) == b'hello\\n'
                assert secured.session_reused == expected, (version, secured.session_reused)
                session = secured.session
print('resumed')
`
    const said = await new Promise<string>((resolve) => {
      execFile(programPath('python3'), ['-c', script, `${port}`, join(temporary.path, 'ca.pem')], (_error, stdout, stderr) => resolve(stdout + stderr))
    })
    assert.equal(said.trim(), 'resumed')
  })
})
