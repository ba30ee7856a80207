/**
 * What README.md tells a newcomer to do with servers of his own, done as it is printed: its configuration with paths, ports
 * and hosts moved here, its commands as they stand but for the same. (The demo's part is in demo.test.ts.)
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { makeAuthority } from '../support/certificates.ts'
import { freePorts } from '../support/ports.ts'
import { skipWithout } from '../support/programs.ts'
import { MAIN } from '../support/signalbox.ts'
import { StubImap } from '../support/stub-imap.ts'
import { makeTemporary } from '../support/temporary.ts'
import { WireClient } from '../support/wire-client.ts'

const run = promisify(execFile)
const README = new URL('../../README.md', import.meta.url)
const ACCOUNT = 'carol@example.com'

describe('README.md', { skip: skipWithout('curl', 'openssl') }, () => {
  test('its configuration starts and its commands do what it says', async (t) => {
    const text = await readFile(README, 'utf8')
    const own = text.slice(text.indexOf('## Your own servers'), text.indexOf('## Several instances'))
    const config = /```toml\n([^`]+)```/.exec(own)?.[1] ?? assert.fail('a configuration')
    const blocks = [...own.matchAll(/```sh\n([^`]+)```/g)].map(([, block = '']) => block)
    assert.equal(blocks.length, 3, 'token and start; cutover; the same by curl')
    const [start = '', ...moves] = blocks

    await using directory = await makeTemporary('readme')
    const authority = await makeAuthority()
    const certificate = await authority.issue({ names: ['mail.example.com', 'localhost'] })
    const legacy = await StubImap.start({ name: 'legacy', tls: 'starttls', certificate })
    const stalwart = await StubImap.start({ name: 'stalwart', tls: 'implicit', certificate })
    t.after(() => Promise.all([legacy.stop(), stalwart.stop()]))
    const [imaps = 0, management = 0] = await freePorts(2)
    const at = (name: string): string => join(directory.path, name)
    await writeFile(at('mail.pem'), certificate.cert)
    await writeFile(at('mail.key'), certificate.key, { mode: 0o600 })
    await writeFile(at('ca.pem'), authority.cert)
    await writeFile(at('mappings'), '')

    const here = `host = "127.0.0.1"\ntls_server_name = "localhost"\ntls_ca = "${at('ca.pem')}"`
    await writeFile(at('mail.toml'), moved(config, [
      ['bind = ["0.0.0.0:993", "[::]:993"]', `bind = ["127.0.0.1:${imaps}"]`],
      ['/etc/signalbox/mail.pem', at('mail.pem')],
      ['/etc/signalbox/mail.key', at('mail.key')],
      ['/etc/signalbox/token', at('token')],
      ['/var/lib/signalbox/mappings', at('mappings')],
      ['host = "legacy.internal"', here],
      ['host = "new.internal"', here],
      ['port = 143', `port = ${legacy.port}`],
      ['\nport = 993', `\nport = ${stalwart.port}`],
      ['127.0.0.1:8443', `127.0.0.1:${management}`],
    ]))
    const { scripts } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as { scripts: { start: string } }
    assert.equal(scripts.start, 'node --disable-sigusr1 src/cli/start.ts', 'npm start with arguments is the command line')
    const signalbox = `"${process.execPath}" "${MAIN}"`
    const env = { PATH: process.env['PATH'] ?? '', CURL_CA_BUNDLE: at('ca.pem') }
    const shell = (script: string) => run('sh', ['-ec', script], { cwd: directory.path, env })

    // Everything but the last line ends by itself.
    const lines = start.trimEnd().split('\n')
    const serve = lines.pop() ?? ''
    assert.match(serve, /^npm start -- mail\.toml /)
    const prepared = await shell(moved(lines.join('\n'), [['/etc/signalbox/token', at('token')], ['npm start --', signalbox]]))
    assert.match(prepared.stdout, /^mail\.toml: ok\n/)

    const child = spawn(process.execPath, [MAIN, 'mail.toml'], { cwd: directory.path, env, stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    t.after(async () => {
      child.kill('SIGTERM')
      await ended
    })
    let log = ''
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`it ended: ${log}`)))
      child.stdout.on('data', (chunk: Buffer) => {
        log += chunk.toString('utf8')
        if (log.includes('"event":"ready"')) resolve()
      })
    })

    const reached = async (): Promise<string | undefined> => {
      const client = await WireClient.connect({ port: imaps, ca: authority.cert })
      await client.until(/^\* OK .*\r\n/)
      const answer = await client.command(`a LOGIN ${ACCOUNT} secret`)
      client.destroy()
      return /^a OK .*welcome to (\w+)/m.exec(answer)?.[1]
    }
    assert.equal(await reached(), 'legacy')
    const [byCommand = '', byCurl = ''] = moves
    const told = await shell(moved(byCommand, [['npm start --', signalbox]]))
    assert.match(told.stdout, /^carol@example\.com: moved from the default to stalwart, /)
    assert.equal(await reached(), 'stalwart')
    const answered = await shell(moved(byCurl, [['/etc/signalbox/token', at('token')], [':8443', `:${management}`]]))
    assert.match(answered.stdout, /moved/)
    assert.equal(await reached(), 'legacy')
  })
})

/** The text with each of these replaced, which must be there. */
function moved(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((result, [from, to]) => {
    assert.ok(result.includes(from), from)
    return result.replaceAll(from, to)
  }, text)
}
