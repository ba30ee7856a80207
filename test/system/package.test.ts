/**
 * The package as npm would publish it: built from nothing but what the container's build copies, packed, unpacked next
 * to its runtime dependencies alone, and run from there. The registry is not asked: the dependencies are links to those that
 * are installed here, none but what package.json declares for run time (and what those declare).
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { cp, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { finished } from '../support/command-line.ts'
import type { Ran } from '../support/command-line.ts'
import { cleanEnv, Demo, paste } from '../support/demo.ts'
import { Premises } from '../support/premises.ts'
import { skipWithout } from '../support/programs.ts'
import { makeTemporary } from '../support/temporary.ts'
import type { Temporary } from '../support/temporary.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DOCKERFILE = join(ROOT, 'packaging', 'docker', 'Dockerfile')
const run = promisify(execFile)

/** What the build stage of the container copies in: `COPY a b ./` lines, before the line that builds. */
async function copiedForBuild(): Promise<string[]> {
  const [stage = ''] = (await readFile(DOCKERFILE, 'utf8')).split(/^RUN npm run build$/m)
  return [...stage.matchAll(/^COPY (.+) (\S+)$/gm)].flatMap(([, sources = '']) => sources.split(' '))
}

/** The directories of all packages that are needed at run time, relative to node_modules; those within others go with them. */
async function runtimePackages(): Promise<string[]> {
  const { stdout } = await run('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: ROOT }).catch((error: { stdout: string }) => error)
  const modules = join(ROOT, 'node_modules')
  const inside = stdout.split('\n').filter((line) => line.startsWith(modules + sep)).map((line) => relative(modules, line))
  return inside.filter((name) => !name.includes(`node_modules${sep}`))
}

describe('the package', () => {
  let temporary: Temporary
  let tarball: string
  let installed: string

  before(async () => {
    temporary = await makeTemporary('package')
    const scratch = join(temporary.path, 'build')
    for (const source of await copiedForBuild()) await cp(join(ROOT, source), join(scratch, source), { recursive: true })
    await symlink(join(ROOT, 'node_modules'), join(scratch, 'node_modules'))
    const env = cleanEnv({ PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` })
    // Builds first: "prepack".
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', temporary.path], { cwd: scratch, env, maxBuffer: 1 << 24 })
    const packed: unknown = JSON.parse(stdout.slice(stdout.search(/^[[{]/m)))
    tarball = join(temporary.path, fileName(packed))
    const modules = join(temporary.path, 'place', 'node_modules')
    installed = join(modules, 'signalbox')
    await mkdir(installed, { recursive: true })
    await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
    for (const name of await runtimePackages()) {
      await mkdir(dirname(join(modules, name)), { recursive: true })
      await symlink(join(ROOT, 'node_modules', name), join(modules, name))
    }
    await mkdir(join(modules, '.bin'))
    await symlink('../signalbox/bin/signalbox.cjs', join(modules, '.bin', 'signalbox'))
  })
  after(() => temporary.remove())

  /** The installed command with the Node that runs the tests, in a directory that has nothing to do with the checkout. */
  function signalbox(...args: string[]): Promise<Ran> {
    return finished(spawn(process.execPath, [command(), ...args], { cwd: temporary.path, env: cleanEnv(), stdio: ['ignore', 'pipe', 'pipe'] }))
  }

  const command = (): string => join(installed, '..', '.bin', 'signalbox')

  it('has what its documents name, and neither tests nor sources nor secrets', async () => {
    const { stdout } = await run('tar', ['-tzf', tarball])
    const files = stdout.trim().split('\n').map((name) => name.replace(/^package\//, ''))
    for (const wanted of ['bin/signalbox.cjs', 'dist/src/main.js', 'dist/workers/session.js', 'dist/workers/mapping-file.js', 'dist/workers/demo-servers.js', 'config/reference.toml', 'docs/security.md', 'SECURITY.md', 'packaging/systemd/signalbox.service', 'packaging/docker/Dockerfile']) {
      assert.ok(files.includes(wanted), wanted)
    }
    const first = new Set(files.map((name) => name.split('/')[0]))
    assert.deepEqual(first, new Set(['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'bin', 'config', 'dist', 'docs', 'package.json', 'packaging']))
    assert.deepEqual(files.filter((name) => /\.(pem|key|crt|p12|env)$|\.test\.|secrets\//.test(name)), [])
    assert.deepEqual(files.filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts')), [])
  })

  it('needs no install script', async () => {
    const manifest = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'))
    assert.deepEqual(Object.keys(manifest.scripts).filter((name) => /^(pre|post)?install$|^prepare$/.test(name)), [])
    // Fastify's schema compiler and the like: nothing that must be compiled for the platform either.
    const scripts: string[] = []
    for (const name of await runtimePackages()) {
      const { scripts: own = {} } = JSON.parse(await readFile(join(ROOT, 'node_modules', name, 'package.json'), 'utf8'))
      for (const kind of ['preinstall', 'install', 'postinstall']) if (kind in own) scripts.push(name)
    }
    // Optional, denied in package.json ("allowScripts"), and not missed: the next test runs without it having been built.
    assert.deepEqual(scripts.filter((name) => name !== 'msgpackr-extract'), [])
  })

  it('says its version, and checks a configuration', async () => {
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
    assert.deepEqual(await signalbox('--version'), { code: 0, out: `${version}\n`, err: '' })
    await using premises = await Premises.make()
    await writeFile(premises.at('good.toml'), premises.config())
    const good = await signalbox('check', premises.at('good.toml'))
    assert.equal(good.code, 0, good.err)
    await writeFile(premises.at('bad.toml'), premises.config({ server: { threds: 2 } }))
    const bad = await signalbox('check', premises.at('bad.toml'))
    assert.equal(bad.code, 2)
    assert.match(bad.err, /"threads"/)
  })

  it('runs the demo: workers, mapping file threads, mail servers, a login', { skip: skipWithout('curl') }, async () => {
    const demo = new Demo(cleanEnv(), [process.execPath, command(), 'demo'], temporary.path)
    try {
      await demo.until(/Ctrl-C ends the demo/)
      const [login = '', move = '', again = ''] = demo.commands()
      assert.match(await paste(login), /You are on the OLD server\./)
      assert.match(await paste(move), /^ok\n/)
      assert.match(await paste(again), /You are on the NEW server\./)
    } finally {
      assert.equal(await demo.interrupt(), 0)
    }
  })

  it('asks for a newer Node.js in one sentence, where it is too old', async () => {
    const { engines } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
    const least = Number(/^>=(\d+)$/.exec(engines.node)?.[1])
    const pretending = (version: string): string => {
      const text = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`
      return `data:text/javascript,${encodeURIComponent(text)}`
    }
    const as = (version: string): Promise<Ran> =>
      finished(spawn(process.execPath, ['--import', pretending(version), command(), '--version'], { env: cleanEnv(), stdio: ['ignore', 'pipe', 'pipe'] }))
    const old = await as(`${least - 1}.99.0`)
    assert.equal(old.code, 1)
    assert.match(old.err, new RegExp(`^signalbox needs Node\\.js ${least} or newer; this is [^\\n]+\\n$`))
    assert.equal((await as(`${least}.0.0`)).code, 0)
    // A real one, where there is one: `node` of the system often is.
    for (const node of ['/usr/bin/node', '/usr/local/bin/node']) {
      if ((await stat(node).catch(() => undefined)) === undefined) continue
      const { stdout: version } = await run(node, ['--version'])
      if (Number(version.slice(1).split('.')[0]) >= least) continue
      const refused = await finished(spawn(node, [command(), 'demo'], { env: cleanEnv(), stdio: ['ignore', 'pipe', 'pipe'] }))
      assert.equal(refused.code, 1)
      assert.match(refused.err, new RegExp(`^signalbox needs Node\\.js ${least} or newer; this is ${version.trim()} [^\\n]+\\n$`))
    }
  })
})

/** From `npm pack --json`, which is a list, or an object by package name. */
function fileName(packed: unknown): string {
  const [first] = typeof packed === 'object' && packed !== null ? Object.values(packed) : []
  if (typeof first === 'object' && first !== null && 'filename' in first && typeof first.filename === 'string') return first.filename
  throw new Error(`npm pack said ${JSON.stringify(packed)}`)
}
