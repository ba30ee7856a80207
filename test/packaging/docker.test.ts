/**
 * The container's pieces, as far as they can be judged where there is no engine: the Dockerfile copies what is there and
 * runs nothing that needs a shell, the compose file takes away what isn't needed, its configuration is sound, and the health
 * check tells a living instance from none. The steps of the build are those of test/system/package.test.ts.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { checkText } from '../../src/config/load.ts'
import { mistakeText } from '../../src/config/mistake.ts'
import { finished } from '../support/command-line.ts'
import type { Ran } from '../support/command-line.ts'
import { Premises } from '../support/premises.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const HERE = join(ROOT, 'packaging', 'docker')
const text = (name: string): Promise<string> => readFile(join(HERE, name), 'utf8')

function health(port: number): Promise<Ran> {
  const env = { ...process.env, SIGNALBOX_HEALTH: `https://127.0.0.1:${port}/healthz`, NODE_TEST_CONTEXT: undefined }
  return finished(spawn(process.execPath, [join(HERE, 'health.mjs')], { env, stdio: ['ignore', 'pipe', 'pipe'] }))
}

describe('the container', () => {
  it('is built from files that are there and that .dockerignore lets through', async () => {
    const passed = (await readFile(join(ROOT, '.dockerignore'), 'utf8')).split('\n').filter((line) => line.startsWith('!')).map((line) => line.slice(1))
    const dockerfile = await text('Dockerfile')
    const sources = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) => names.split(' '))
    assert.ok(sources.length > 10)
    for (const source of sources) {
      assert.ok(existsSync(join(ROOT, source)), source)
      assert.ok(passed.includes(source.replace(/^\.\//, '')), `${source} is kept out by .dockerignore`)
    }
  })

  it('keeps what its own package publishes, runs as a number that is not root, and starts without a shell', async () => {
    const dockerfile = await text('Dockerfile')
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '))
    assert.match(last, /^USER (\d+):\1$/m)
    assert.ok(Number(/^USER (\d+)/m.exec(last)?.[1]) > 0)
    assert.doesNotMatch(last, /^RUN /m)
    assert.match(last, /^ENTRYPOINT \["node", "--disable-sigusr1", /m)
    for (const form of [/^ENTRYPOINT (.+)$/m, /^CMD (.+)$/m, /^HEALTHCHECK .*CMD (.+)$/m]) {
      const [, list = ''] = form.exec(last) ?? []
      assert.ok(Array.isArray(JSON.parse(list)), `${form}`)
    }
    const { version } = JSON.parse(await readFile(join(ROOT, 'node_modules', 'node', 'package.json'), 'utf8'))
    assert.match(dockerfile, new RegExp(`^ARG NODE=${version.split('.')[0]}$`, 'm'))
    assert.doesNotMatch(dockerfile, /npm (?:ci|install)(?!.*--ignore-scripts)/)
  })

  it('has a sound configuration, with the ports and paths that its compose file gives it', async () => {
    await using premises = await Premises.make()
    const toml = await text('signalbox.toml')
    const compose = await text('docker-compose.yml')
    for (const [, secret = ''] of toml.matchAll(/"\/run\/secrets\/(\w+)"/g)) assert.match(compose, new RegExp(`^  ${secret}:\\n    file: secrets/${secret}$`, 'm'))
    for (const [, port = ''] of toml.matchAll(/"0\.0\.0\.0:(\d+)"/g)) {
      assert.equal([...compose.matchAll(new RegExp(`:${port}"`, 'g'))].length, 2, `port ${port} of both instances`)
      assert.match(await text('Dockerfile'), new RegExp(`^EXPOSE .*\\b${port}\\b`, 'm'))
    }
    const [own, grace] = [/^shutdown_grace = "(\d+)s"$/m.exec(toml)?.[1], /stop_grace_period: (\d+)s$/m.exec(compose)?.[1]]
    assert.ok(Number(grace) >= Number(own) + 10)
    const here = toml
      .replace('/run/secrets/tls_cert', premises.at('cert.pem'))
      .replace('/run/secrets/tls_key', premises.at('key.pem'))
      .replace('/run/secrets/admin_token', premises.at('token'))
    await writeFile(premises.at('signalbox.toml'), here)
    const loaded = await checkText(here, undefined, {}, { localAddresses: [] })
    assert.ok(loaded.ok, loaded.ok ? '' : loaded.mistakes.map(mistakeText).join('\n'))
    assert.equal(loaded.config.mapping.source, 'redis')
    for (const taken of ['read_only: true', 'cap_drop: [ALL]', 'no-new-privileges:true']) assert.ok(compose.includes(taken), taken)
    // The management API is for the host alone.
    assert.equal([...compose.matchAll(/"127\.0\.0\.1:\d+:9443"/g)].length, 2)
  })

  it('is healthy while the instance answers, and only then', async () => {
    await using premises = await Premises.make()
    assert.equal((await health(premises.management)).code, 1)
    const box = await premises.start(premises.config({ server: { threads: 1, log_format: 'json' } }))
    assert.deepEqual(await health(premises.management), { code: 0, out: '', err: '' })
    await box.stop()
    const gone = await health(premises.management)
    assert.equal(gone.code, 1)
    assert.match(gone.err, /ECONNREFUSED/)
  })
})
