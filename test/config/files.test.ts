import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { makeAuthority, makeExpired, makeSelfSigned } from '../support/certificates.ts'
import { checkChanged, mistakesOf } from '../support/configuration.ts'
import { makeTemporary } from '../support/temporary.ts'

const authority = await makeAuthority()
const mail = await authority.issue({ names: ['Mail.example.com', '*.example.org', '192.0.2.1'] })
const other = await makeSelfSigned({ names: ['other.example.com'] })

/** A directory with a certificate and its key, and paths of files in it. */
async function directory(): Promise<AsyncDisposable & { at(name: string): string; put(name: string, text: string | Buffer): Promise<string> }> {
  const temporary = await makeTemporary('config')
  const at = (name: string): string => `${temporary.path}/${name}`
  const put = async (name: string, text: string | Buffer): Promise<string> => {
    await writeFile(at(name), text, { mode: 0o600 })
    return at(name)
  }
  await put('cert.pem', mail.cert)
  await put('key.pem', mail.key)
  return { at, put, [Symbol.asyncDispose]: temporary.remove }
}

test('a certificate is read with its key and the names in it', async () => {
  await using files = await directory()
  const loaded = await checkChanged(
    { 'tls.certificate.main': { cert: files.at('cert.pem'), key: files.at('key.pem'), default: true } },
  )
  assert.ok(loaded.ok)
  const [certificate] = loaded.config.tls.certificates
  assert.equal(certificate?.cert, mail.cert)
  assert.equal(certificate?.key, mail.key)
  assert.deepEqual(certificate?.subjects, ['mail.example.com', '*.example.org'])
  assert.equal(certificate?.default, true)
  assert.deepEqual(loaded.warnings, [])
})

test('names in the configuration beat those in the certificate', async () => {
  await using files = await directory()
  const loaded = await checkChanged(
    {
      'tls.certificate.main': { cert: files.at('cert.pem'), key: files.at('key.pem'), subjects: ['IMAP.example.com.'] },
    },
  )
  assert.ok(loaded.ok)
  assert.deepEqual(loaded.config.tls.certificates[0]?.subjects, ['imap.example.com'])
})

test('a key of another certificate is a mistake at the key', async () => {
  await using files = await directory()
  const key = await files.put('other.key', other.key)
  assert.deepEqual(await mistakesOf({ 'tls.certificate.main': { cert: files.at('cert.pem'), key } }), [
    'tls.certificate.main.key: does not belong to the certificate in cert',
  ])
})

test('files that are missing, directories, FIFOs or not PEM are mistakes that name them', async () => {
  await using files = await directory()
  await mkdir(files.at('dir'))
  execFileSync('mkfifo', [files.at('fifo')])
  const junk = await files.put('junk', 'junk')
  const cases: readonly (readonly [string, RegExp])[] = [
    [files.at('nowhere'), /cert: cannot be read: ENOENT: no such file or directory; found/],
    [files.at('dir'), /cert: cannot be read: (not a regular file|EISDIR)/],
    [files.at('fifo'), /cert: cannot be read: not a regular file/],
    [junk, /cert: is no certificate in PEM form/],
  ]
  for (const [cert, expected] of cases) {
    const mistakes = await mistakesOf({ 'tls.certificate.main': { cert, key: files.at('key.pem') } })
    assert.equal(mistakes.length, 1)
    assert.match(mistakes[0] ?? '', expected)
  }
  assert.match(
    (await mistakesOf({ 'tls.certificate.main': { cert: files.at('cert.pem'), key: junk } })).join(),
    /key: is no private key in PEM form/,
  )
})

test('a key with a passphrase is told apart from junk', async () => {
  await using files = await directory()
  const locked = createPrivateKey(mail.key).export(
    { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
  )
  const key = await files.put('locked.pem', locked)
  assert.match(
    (await mistakesOf({ 'tls.certificate.main': { cert: files.at('cert.pem'), key } })).join(),
    /key: is a private key with a passphrase; remove it$/,
  )
})

test('an expired certificate, and one that is not valid yet, are warnings', async () => {
  await using files = await directory()
  const expired = await makeExpired(authority, 'a.example.com')
  const early = await authority.issue({ names: ['a.example.com'], fromDays: 2 })
  const cases = [[expired, /^The certificate in tls\.certificate\.main\.cert expired on /], [early, /is valid only from /]] as const
  for (const [issued, expected] of cases) {
    const [cert, key] = [await files.put('c.pem', issued.cert), await files.put('k.pem', issued.key)]
    const loaded = await checkChanged({ 'tls.certificate.main': { cert, key } })
    assert.ok(loaded.ok)
    assert.match(loaded.warnings.join(), expected)
  }
})

test('the age of a certificate is judged by the clock that is given', async () => {
  await using files = await directory()
  const clock = { wall: () => Date.now() + 400 * 86_400_000 }
  const loaded = await checkChanged(
    { 'tls.certificate.main': { cert: files.at('cert.pem'), key: files.at('key.pem') } },
    { clock },
  )
  assert.match(loaded.ok ? loaded.warnings.join() : '', /expired on/)
})

test('two defaults are a mistake, no default among several a warning', async () => {
  await using files = await directory()
  const certificate = { cert: files.at('cert.pem'), key: files.at('key.pem') }
  const twice = { 'tls.certificate': { a: { ...certificate, default: true }, b: { ...certificate, default: true } } }
  assert.deepEqual(await mistakesOf(twice), ['tls.certificate.b.default: another certificate is the default already'])
  const none = await checkChanged({ 'tls.certificate': { a: certificate, b: certificate } })
  assert.match(none.ok ? none.warnings.join() : '', /has default = true/)
})

test('a CA bundle and a client certificate become part of their destination', async () => {
  await using files = await directory()
  const client = await authority.issue({ names: ['proxy'], client: true })
  const changes = {
    'destination.legacy.tls_ca': await files.put('ca.pem', `${authority.cert}\n${authority.cert}`),
    'destination.legacy.tls_client_cert': await files.put('client.pem', client.cert),
    'destination.legacy.tls_client_key': await files.put('client.key', client.key),
  }
  const loaded = await checkChanged(changes)
  assert.ok(loaded.ok)
  const [legacy] = loaded.config.destinations
  assert.equal(legacy?.ca, `${authority.cert}\n${authority.cert}`)
  assert.equal(legacy?.clientCert, client.cert)
  assert.equal(legacy?.clientKey, client.key)
  const wrong = {
    ...changes,
    'destination.legacy.tls_client_key': await files.put('wrong.key', other.key),
    'destination.legacy.tls_ca': await files.put('empty', ''),
  }
  assert.deepEqual((await mistakesOf(wrong)).toSorted(), [
    'destination.legacy.tls_ca: holds no certificate in PEM form',
    'destination.legacy.tls_client_key: does not belong to the certificate in tls_client_cert',
  ])
})

test('a ticket key file that others may read, or the group may write, is a warning', async () => {
  await using files = await directory()
  const path = await files.put('tickets', Buffer.alloc(48))
  for (const [mode, open] of [[0o600, false], [0o400, false], [0o640, false], [0o604, true], [0o644, true], [0o620, true], [0o666, true]] as const) {
    await chmod(path, mode)
    const loaded = await checkChanged({ 'tls.ticket_key_file': path })
    assert.ok(loaded.ok)
    const warned = loaded.warnings.some((warning) => warning.includes(`tls.ticket_key_file has the permissions 0${mode.toString(8)}`))
    assert.equal(warned, open, mode.toString(8))
  }
})

test('a ticket key file holds 48 bytes', async () => {
  await using files = await directory()
  assert.deepEqual(await mistakesOf({ 'tls.ticket_key_file': await files.put('k48', Buffer.alloc(48)) }), [])
  assert.deepEqual(await mistakesOf({ 'tls.ticket_key_file': await files.put('k47', Buffer.alloc(47)) }), [
    'tls.ticket_key_file: the file must hold 48 bytes, it holds 47',
  ])
})

const TOKEN = 'abcdefghijklmnopqrstuvwxyz012345'

test('the token comes from the environment, else from its file, else from its key', async () => {
  await using files = await directory()
  const file = await files.put('token', `${TOKEN}-file\n`)
  const admin = { bind: '127.0.0.1:9443', bearer_token_file: file, bearer_token: `${TOKEN}-key` }
  const tokenOf = async (value: object, env: Record<string, string> = {}): Promise<string | undefined> => {
    const loaded = await checkChanged({ admin: value }, { env })
    assert.ok(loaded.ok)
    return loaded.config.admin?.token
  }
  assert.equal(await tokenOf(admin, { PROXY_ADMIN_TOKEN: `${TOKEN}-env` }), `${TOKEN}-env`)
  assert.equal(await tokenOf(admin, { PROXY_ADMIN_TOKEN: '' }), `${TOKEN}-file`)
  assert.equal(await tokenOf({ bind: admin.bind, bearer_token: admin.bearer_token }), `${TOKEN}-key`)
  assert.equal(
    await tokenOf({ bind: admin.bind, bearer_token_file: files.at('nowhere') }, { PROXY_ADMIN_TOKEN: TOKEN }),
    TOKEN,
  )
})

test('a token that is missing, too short, or unfit for a header is a mistake without the token in it', async () => {
  await using files = await directory()
  const bind = '127.0.0.1:9443'
  const cases: readonly (readonly [object, Record<string, string>, RegExp])[] = [
    [
      { bind },
      {},
      /^admin\.bearer_token_file: a token is needed; allowed: bearer_token_file, bearer_token, or PROXY_ADMIN_TOKEN/,
    ],
    [{ bind, bearer_token: 'geheim' }, {}, /^admin\.bearer_token: the token has 6 characters, min_token_len is 32$/],
    [
      { bind, bearer_token_file: await files.put('short', 'geheim\n') },
      {},
      /^admin\.bearer_token_file: the token has 6 characters/,
    ],
    [
      { bind, bearer_token_file: await files.put('empty', '\n') },
      {},
      /^admin\.bearer_token_file: the token in it is empty/,
    ],
    [
      { bind, bearer_token_file: await files.put('lines', 'geheim\ngeheim') },
      {},
      /^admin\.bearer_token_file: the token in it is .*without spaces/,
    ],
    [{ bind, bearer_token_file: files.at('nowhere') }, {}, /^admin\.bearer_token_file: cannot be read: ENOENT/],
    [{ bind, bearer_token: TOKEN }, { PROXY_ADMIN_TOKEN: 'geheim' }, /^PROXY_ADMIN_TOKEN: the token has 6 characters/],
    [{ bind, bearer_token: TOKEN }, { PROXY_ADMIN_TOKEN: `${TOKEN} geheim` }, /^PROXY_ADMIN_TOKEN: .*without spaces/],
  ]
  for (const [admin, env, expected] of cases) {
    const mistakes = await mistakesOf({ admin }, { env })
    assert.equal(mistakes.length, 1, mistakes.join('\n'))
    assert.match(mistakes[0] ?? '', expected)
    assert.doesNotMatch(mistakes[0] ?? '', /geheim/)
  }
  assert.deepEqual(await mistakesOf({ admin: { bind, bearer_token: 'geheim', min_token_len: 6 } }), [])
})
