import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { descendantPids, descendants, parsePss, parseSchedstat, parseStat, treePss, TreeSample } from '../../bench/process-tree.ts'

const STAT = '4242 (a (b) c) S 17 4242 4242 0 -1 4194560 1000 2000 0 0 150 50 30 20 20 0 11 0 5000 1000000 500 18446744073709551615'

test('the name of a process may hold blanks and parentheses', () => {
  assert.deepEqual(parseStat(STAT), { pid: 4242, parent: 17, ticks: 200, childTicks: 50 })
})

test('descendants are found at any depth, and nobody else', () => {
  const stat = (pid: number, parent: number) => ({ pid, parent, ticks: 0, childTicks: 0 })
  const found = descendants([2], [stat(1, 0), stat(2, 1), stat(5, 4), stat(4, 2), stat(3, 1)])
  assert.deepEqual(found.map(({ pid }) => pid).toSorted((a, b) => a - b), [2, 4, 5])
})

test('schedstat and smaps_rollup are read as the kernel writes them', () => {
  assert.deepEqual(parseSchedstat('984262 75105308 6\n'), { ran: 984262, waited: 75105308 })
  assert.equal(parsePss('56434a72c000-7fffb0376000 ---p 00000000 00:00 0 [rollup]\nRss:    1720 kB\nPss:     213 kB\nPss_Dirty:  112 kB\n'), 213)
  assert.equal(parsePss(''), 0)
})

test('what a process and its children burn is counted, of children that have ended too', async () => {
  // A child that burns and ends, waited for by its parent, which then burns as much and stays.
  const burn = 'for (const end = process.cpuUsage().user + 150000; process.cpuUsage().user < end;) {}'
  const script = `require('node:child_process').execFileSync(process.execPath, ['-e', ${JSON.stringify(burn)}]); ${burn}; console.log('done'); setInterval(() => {}, 1e6)`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const pid = child.pid ?? 0
    const before = TreeSample.of([pid])
    await new Promise((resolve) => child.stdout.once('data', resolve))
    const { cpuSeconds } = TreeSample.of([pid]).since(before)
    assert.ok(cpuSeconds >= 0.28, `${cpuSeconds} s`)
    assert.deepEqual(descendantPids([pid]), [pid])
    assert.ok(treePss([pid]) > 1_000)
  } finally {
    child.kill('SIGKILL')
  }
})
