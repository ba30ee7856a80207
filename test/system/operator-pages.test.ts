/**
 * The commands of the smaller operator's pages, run as printed but for paths and the port of Redis: docs/redis.md,
 * docs/tls.md, docs/reload.md, docs/limits.md. (docs/cli.md, docs/management.md, docs/performance.md and README.md have tests of their own.) No
 * page may print a command that none of these tests runs.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cleanEnv } from '../support/demo.ts'
import { Premises } from '../support/premises.ts'
import { programPath, skipWithout } from '../support/programs.ts'
import { RedisServer } from '../support/redis.ts'
import { MAIN } from '../support/signalbox.ts'
import { makeTemporary } from '../support/temporary.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PAGES = ['limits.md', 'redis.md', 'reload.md', 'tls.md']
const ELSEWHERE = ['cli.md', 'management.md', 'performance.md']

/** The page's shell commands, block by block. */
async function blocks(page: string): Promise<readonly string[]> {
  const text = await readFile(join(ROOT, 'docs', page), 'utf8')
  return [...text.matchAll(/^```sh\n([^`]+)```/gm)].map(([, block = '']) => block)
}

async function shell(script: string, cwd = ROOT): Promise<string> {
  const { stdout } = await run('bash', ['-ec', script], { cwd, env: cleanEnv() })
  return stdout
}

describe('the commands of the operator’s pages', () => {
  test('no page has commands that nobody runs', async () => {
    const pages = (await readdir(join(ROOT, 'docs'))).filter((name) => name.endsWith('.md') && !ELSEWHERE.includes(name))
    const printing = await Promise.all(pages.map(async (page) => ((await blocks(page)).length > 0 ? [page] : [])))
    assert.deepEqual(printing.flat().sort(), PAGES)
  })

  test('docs/redis.md: an account is moved and brought back by hand', { skip: skipWithout('redis-server') }, async () => {
    await using redis = await RedisServer.start()
    const [block = ''] = await blocks('redis.md')
    const [move = '', back = ''] = block.trimEnd().split('\n')
    const here = `redis-cli() { command redis-cli -p ${redis.port} "$@"; }\n`
    await shell(here + move)
    assert.equal(await redis.client().get('route:carol@example.com'), 'stalwart')
    await shell(here + back)
    assert.equal(await redis.client().get('route:carol@example.com'), null)
  })

  test('docs/tls.md: a key for tickets is as long as it must be, and nobody else can read it', { skip: skipWithout('openssl') }, async () => {
    await using directory = await makeTemporary('pages')
    const [block = ''] = await blocks('tls.md')
    await shell(block.replaceAll('/etc/signalbox', directory.path))
    const { size, mode } = await stat(join(directory.path, 'tickets.key'))
    assert.deepEqual([size, mode & 0o777], [48, 0o600])
  })

  test('docs/limits.md: the filter is installed and counts', { skip: skipWithout('fail2ban-regex') }, async () => {
    await using directory = await makeTemporary('pages')
    const [block = ''] = await blocks('limits.md')
    const etc = join(directory.path, 'fail2ban')
    for (const name of ['filter.d', 'jail.d']) await mkdir(join(etc, name), { recursive: true })
    const log = join(directory.path, 'signalbox.log')
    const line = { level: 'warn', time: '2026-01-02T03:04:05.678Z', worker: 1, event: 'login_refused', session: 's', listener: 'imaps', protocol: 'imap', client: '203.0.113.9' }
    const rest = { account: 'ca*0123456789ab', destination: 'legacy', mechanism: 'PLAIN', reason: 'backend', attempt: 1, msg: 'login refused' }
    await writeFile(log, `${JSON.stringify({ ...line, ...rest })}\n`)
    const script = block.replaceAll('/etc/fail2ban', etc).replaceAll('/var/log/signalbox.log', log).replace(' signalbox ', ` ${etc}/filter.d/signalbox.conf `)
    assert.match(await shell(`fail2ban-regex() { "${programPath('fail2ban-regex')}" "$@"; }\n${script}`), /Lines: 1 lines, 0 ignored, 1 matched, 0 missed/)
  })

  test('docs/reload.md: checked, reloaded by signal and by the API, and rolled', { skip: skipWithout('curl') }, async () => {
    const [reload = '', roll = ''] = await blocks('reload.md')
    await using premises = await Premises.make()
    const config = premises.config({ server: { threads: 1, shutdown_grace: '1s', log_format: 'json' } })
    const box = await premises.start(config)
    const path = premises.at('mail.toml')
    await writeFile(path, config)
    const ca = premises.at('ca.pem')
    await writeFile(ca, premises.authority.cert)
    const setting = [
      `signalbox() { "${process.execPath}" "${MAIN}" "$@"; }`,
      `ask() { curl -sS --cacert "${ca}" -H "Authorization: Bearer ${premises.token}" "$@"; }`,
      `ADMIN=https://localhost:${premises.management}`,
      `PID=${box.pid}`,
    ].join('\n')
    const out = await shell(`${setting}\n${reload.replace('/etc/signalbox.toml', path)}`)
    assert.match(out, /mail\.toml: ok\n[^]*reloaded/)
    await box.line(({ event }) => event === 'config_reloaded')
    await shell(`${setting}\n${roll}`)
    await box.line(({ event }) => event === 'rolled')
  })
})
