import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const MODULE = JSON.stringify(new URL('../src/compile-cache.ts', import.meta.url).href)
const CODE = `
const { useCompileCache } = await import(${MODULE})
useCompileCache()
const { getCompileCacheDir } = await import('node:module')
console.log(JSON.stringify([getCompileCacheDir(), process.env.NODE_COMPILE_CACHE]))`

function run(env: NodeJS.ProcessEnv): (string | undefined)[] {
  const text = execFileSync(process.execPath, ['--input-type=module', '-e', CODE], { env, encoding: 'utf8' })
  return JSON.parse(text) as (string | undefined)[]
}

test('what was compiled is kept in the package, and child processes are told where', () => {
  const { NODE_COMPILE_CACHE: _, ...env } = process.env
  const [directory, told] = run(env)
  const expected = join(import.meta.dirname, '..', 'node_modules', '.cache', 'signalbox')
  assert.ok(directory?.startsWith(expected), String(directory))
  assert.ok(told?.startsWith(expected), String(told))
})

test('NODE_COMPILE_CACHE names another folder', () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'signalbox-test-'))
  try {
    const [directory, told] = run({ ...process.env, NODE_COMPILE_CACHE: elsewhere })
    assert.ok(directory?.startsWith(elsewhere), String(directory))
    assert.equal(told, elsewhere)
    assert.notEqual(readdirSync(elsewhere).length, 0)
  } finally {
    rmSync(elsewhere, { recursive: true })
  }
})
