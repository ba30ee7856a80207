import assert from 'node:assert/strict'
import { test } from 'node:test'
import { availableCores } from '../../src/config/cores.ts'

function kernel(files: Readonly<Record<string, string>>): (path: string) => string | undefined {
  return (path) => files[path]
}

test('without a quota every core counts', () => {
  assert.equal(availableCores(kernel({}), 8), 8)
  assert.equal(availableCores(kernel({ '/sys/fs/cgroup/cpu.max': 'max 100000\n' }), 8), 8)
  assert.equal(
    availableCores(
      kernel({ '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' }),
      8,
    ),
    8,
  )
})

test('a quota of a control group is rounded down to whole cores, never below one', () => {
  assert.equal(availableCores(kernel({ '/sys/fs/cgroup/cpu.max': '250000 100000\n' }), 8), 2)
  assert.equal(availableCores(kernel({ '/sys/fs/cgroup/cpu.max': '50000 100000\n' }), 8), 1)
  assert.equal(availableCores(kernel({ '/sys/fs/cgroup/cpu.max': '1600000 100000\n' }), 8), 8)
})

test('the smallest quota on the way up counts', () => {
  const files = {
    '/proc/self/cgroup': '0::/system.slice/signalbox.service\n',
    '/sys/fs/cgroup/system.slice/signalbox.service/cpu.max': '600000 100000\n',
    '/sys/fs/cgroup/system.slice/cpu.max': '300000 100000\n',
  }
  assert.equal(availableCores(kernel(files), 8), 3)
})

test('control groups of the first version are read too', () => {
  const files = {
    '/proc/self/cgroup': '4:cpu,cpuacct:/docker/abc\n2:memory:/x\n',
    '/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us': '400000\n',
    '/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us': '100000\n',
  }
  assert.equal(availableCores(kernel(files), 8), 4)
})

test('on this host there is at least one', () => {
  assert.ok(availableCores() >= 1)
})
