/** The command itself, on figures of an earlier run: nothing is measured here. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { BEGIN, END } from '../../bench/document.ts'
import type { Goal } from '../../bench/question.ts'
import type { Report } from '../../bench/result.ts'
import { makeTemporary } from '../support/temporary.ts'
import { questionOf, reportOf } from './rounds.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MUST: Goal = { kind: 'must', subject: 'Signalbox', figure: 'cpu', of: 'floor', most: 1.15 }

interface Ran {
  readonly status: number
  readonly output: string
}

function bench(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(ROOT, 'bench', 'run.ts'), ...args], { cwd: ROOT }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code), output: `${stdout}${stderr}` })
    })
  })
}

function costing(cpu: number): Report {
  return reportOf(questionOf({ floor: [100, 100, 100], Signalbox: [cpu, cpu, cpu] }, [MUST]))
}

test('docs/performance.md: every command is understood, and names questions that there are', async () => {
  const page = await readFile(join(ROOT, 'docs', 'performance.md'), 'utf8')
  const commands = [...page.matchAll(/^```sh\n([^`]+)```/gm)].flatMap(([, block = '']) => block.trimEnd().split('\n'))
  assert.ok(commands.length > 5)
  for (const command of commands) {
    const [, words = ''] = /^npm run bench(?: --)?(.*?)(?:\s+#.*)?$/.exec(command) ?? assert.fail(command)
    const { status, output } = await bench(...words.split(' ').filter((word) => word !== ''), '--list')
    assert.equal(status, 0, `${command}: ${output}`)
    assert.match(output, /^\S+ +\S.*\?$/m)
  }
})

test('a question that there isn’t is wrong usage', async () => {
  const { status, output } = await bench('logn')
  assert.equal(status, 2)
  assert.match(output, /no such question: logn; there are: .*login-plain/)
})

test('--check fails when a must falls short, and when a ratio has grown since the baseline; without it nothing is judged', async () => {
  await using directory = await makeTemporary('bench')
  const file = async (name: string, report: Report): Promise<string> => {
    const path = join(directory.path, name)
    await writeFile(path, JSON.stringify(report))
    return path
  }
  const [good, worse, bad] = [await file('good.json', costing(100)), await file('worse.json', costing(112)), await file('bad.json', costing(120))]
  const html = ['--html', join(directory.path, 'report.html')]
  assert.equal((await bench('--from', bad, ...html)).status, 0)
  const short = await bench('--from', bad, '--check', ...html)
  assert.equal(short.status, 1)
  assert.match(short.output, /must +FALLS SHORT/)
  assert.equal((await bench('--from', worse, '--check', ...html)).status, 0)
  const grown = await bench('--from', worse, '--check', '--baseline', good, ...html)
  assert.equal(grown.status, 1)
  assert.match(grown.output, /REGRESSION login-plain: cpu of Signalbox was 1\.00/)
  assert.equal((await bench('--from', good, '--check', '--baseline', good, ...html)).status, 0)
  assert.match(await readFile(join(directory.path, 'report.html'), 'utf8'), /<svg/)
})

test('--check fails when an earlier state of the project was cheaper in the same rounds, and says by how much', async () => {
  await using directory = await makeTemporary('bench')
  const beside = async (now: number): Promise<Ran> => {
    const report = join(directory.path, 'report.json')
    const rounds = (cpu: number): number[] => Array.from({ length: 100 }, (_, index) => cpu + (index % 10))
    await writeFile(report, JSON.stringify(reportOf(questionOf({ Signalbox: rounds(now), 'Signalbox, before': rounds(400) }, [MUST]))))
    return bench('--from', report, '--check', '--html', join(directory.path, 'report.html'))
  }
  const dearer = await beside(440)
  assert.equal(dearer.status, 1)
  assert.match(dearer.output, /REGRESSION login-plain: cpu of Signalbox is 1\.10 \(.*\) × Signalbox, before/)
  assert.match(await readFile(join(directory.path, 'report.html'), 'utf8'), /class="missed">login-plain: cpu of Signalbox is 1\.10/)
  const same = await beside(401)
  assert.equal(same.status, 0)
  assert.match(same.output, /^login-plain: cpu of Signalbox is 1\.00 /m)
})

test('wrong usage is told before anything is measured, with a status of its own', async () => {
  for (const args of [['--nonsense'], ['--rounds', '1.5'], ['bulk', '--from', 'report.json'], ['bulk', '--baseline', '/nowhere']]) {
    const { status, output } = await bench(...args)
    assert.equal(status, 2, args.join(' '))
    assert.match(output, /^error: /m)
  }
})

test('--against wants a checkout, and questions that can be asked of one', async () => {
  await using directory = await makeTemporary('bench')
  const nowhere = await bench('login', '--against', directory.path)
  assert.equal(nowhere.status, 2)
  assert.match(nowhere.output, /no checkout of the project/)
  const other = await bench('resolve', '--against', ROOT)
  assert.equal(other.status, 2)
  assert.match(other.output, /none of these questions can be asked beside an earlier checkout/)
})

test('--document writes the figures into a page', async () => {
  await using directory = await makeTemporary('bench')
  const [report, page] = [join(directory.path, 'report.json'), join(directory.path, 'page.md')]
  await writeFile(report, JSON.stringify(costing(110)))
  await writeFile(page, `# A page\n\n${BEGIN}\n${END}\n`)
  assert.equal((await bench('--from', report, '--document', page, '--html', join(directory.path, 'report.html'))).status, 0)
  assert.match(await readFile(page, 'utf8'), /\| Signalbox \| 110 \(110–110\) \|/)
})
