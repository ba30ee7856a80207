/** `signalbox demo`, and what `npm start` does without a configuration: the demo on this terminal, with its signals. */
import { spawn } from 'node:child_process'
import { extname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { runDemo } from '../demo/demo.ts'
import type { Serving } from '../demo/demo.ts'

/** How long the proxy may take to end before it is killed: its shutdown_grace of a second, and some. */
const STOP_MS = 5_000
/** `.ts` as checked out, `.js` as built. */
const EXTENSION = extname(import.meta.filename)
/** What in the environment would change the demo's own configuration. */
const OVERRIDES = ['PROXY_CONFIG', 'PROXY_ADMIN_TOKEN', 'SIGNALBOX_CLUSTER_SECRET', 'LOG_LEVEL', 'RUST_LOG']

/** Runs the demo until a signal ends it. Resolves with the exit status. */
export async function demo(): Promise<number> {
  const ending = new AbortController()
  const end = (): void => ending.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, end)
  // Nobody reads any more (a pipe that was closed): an end like any other, with everything cleared away.
  process.stdout.on('error', end)
  try {
    return await runDemo({
      serve: (configPath) => serveAsChild(configPath, systemClock),
      serversEntry: new URL(`../../workers/demo-servers${EXTENSION}`, import.meta.url),
      print: (text) => void process.stdout.write(text),
      isTerminal: process.stdout.isTTY,
      env: process.env,
      clock: systemClock,
      cancel: ending.signal,
    })
  } finally {
    for (const signal of signals) process.off(signal, end)
    process.stdout.off('error', end)
  }
}

/** The proxy as everybody starts it, in a process of its own, so that its log can be read and told. */
function serveAsChild(configPath: string, clock: Clock): Serving {
  const main = fileURLToPath(new URL(`../main${EXTENSION}`, import.meta.url))
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OVERRIDES.includes(name)))
  const child = spawn(process.execPath, ['--disable-sigusr1', main, 'serve', configPath], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<number>((resolve) => {
    child.once('error', () => resolve(1))
    child.once('exit', (code) => resolve(code ?? 1))
  })
  return {
    lines: createInterface({ input: child.stdout, crlfDelay: Infinity }),
    ended,
    stop() {
      child.kill('SIGTERM')
      const timer = clock.after(STOP_MS, () => child.kill('SIGKILL'))
      void ended.then(() => timer.cancel())
    },
  }
}
