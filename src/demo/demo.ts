/**
 * The demo: two mail servers of its own, certificates, token, password and mappings made at start, and the real proxy
 * in front of them. Prints three commands to paste, then what happens. It owns the temporary directory and both child
 * processes and leaves nothing behind: whoever ends first, the rest is ended and the directory removed.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import { makeDemoCertificates } from './certificates.ts'
import { demoCommands, hasCurl, quoteForShell } from './commands.ts'
import type { DemoCommands } from './commands.ts'
import { writeDemoFiles } from './configuration.ts'
import type { DemoListeners } from './configuration.ts'
import { choosePorts } from './loopback-ports.ts'
import { narrate, saysReady } from './narrator.ts'
import { startDemoServers } from './servers.ts'

/** IMAPS, IMAP, management: easy to remember, none needs root. */
const PORTS = [9930, 1430, 8443]
const USERS = ['alice@example.com', 'bob@example.com', 'carol@example.com']
/** carol has none: she shows the default route. */
const MAPPINGS = [['alice@example.com', 'old'], ['bob@example.com', 'new']] as const

/** A proxy that was started with a configuration file. */
export interface Serving {
  /** Its log, line by line, until it ends. */
  readonly lines: AsyncIterable<string>
  /** Its exit status, once it has ended. */
  readonly ended: Promise<number>
  /** Asks it to end; idempotent. */
  stop(): void
}

export interface DemoOptions {
  /** Starts the proxy, logging JSON. */
  readonly serve: (configPath: string) => Serving
  /** Entry point of the mail servers' process. */
  readonly serversEntry: URL
  readonly print: (text: string) => void
  /** Compact lines for people, else the log as it is. */
  readonly isTerminal: boolean
  readonly env: NodeJS.ProcessEnv
  readonly clock: Clock
  /** Ends the demo. */
  readonly cancel: AbortSignal
}

/** Runs until cancelled (0), or until one of its parts ends by itself (1). */
export async function runDemo(options: DemoOptions): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'signalbox-demo-'))
  try {
    return await runIn(directory, options)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function runIn(directory: string, options: DemoOptions): Promise<number> {
  const password = randomBytes(9).toString('hex')
  const token = randomBytes(24).toString('hex')
  const certificates = await makeDemoCertificates(options.clock.wall())
  const servers = await startDemoServers(options.serversEntry, {
    cert: certificates.cert,
    key: certificates.key,
    users: USERS.map((user) => [user, password]),
  })
  try {
    const [imaps = 0, imap = 0, admin = 0] = await choosePorts(PORTS)
    const listeners: DemoListeners = { imaps, imap, admin }
    const files = await writeDemoFiles({ directory, certificates, listeners, servers: servers.ports, token, mappings: MAPPINGS })
    const commands = demoCommands((await hasCurl(options.env)) ? 'curl' : { node: process.execPath }, {
      user: 'alice@example.com',
      password,
      destination: 'new',
      imapsPort: listeners.imaps,
      adminPort: listeners.admin,
      token,
      caPath: files.caPath,
    })
    const serving = options.serve(files.configPath)
    const stop = (): void => serving.stop()
    options.cancel.addEventListener('abort', stop)
    if (options.cancel.aborted) stop()
    void servers.ended.then(stop)
    const examples = `export ADMIN=https://127.0.0.1:${admin} CA=${quoteForShell(files.caPath)} TOKEN=${token}`
    await follow(serving.lines, options, explanation({ listeners, commands, password, examples, isTerminal: options.isTerminal }))
    const status = await serving.ended
    if (options.cancel.aborted) return 0
    options.print(`The demo ended by itself: the ${status === 0 ? "mail servers' process is gone" : `proxy's exit status is ${status}`}.\n`)
    return 1
  } finally {
    await servers.stop()
  }
}

/** Passes the proxy's log on, and the explanation as soon as it is ready. */
async function follow(lines: AsyncIterable<string>, options: DemoOptions, text: string): Promise<void> {
  let ready = false
  for await (const line of lines) {
    const told = options.isTerminal ? narrate(line) : line
    if (told !== undefined) options.print(`${told}\n`)
    if (!ready && saysReady(line)) {
      ready = true
      options.print(text)
    }
  }
}

interface Explained {
  readonly listeners: DemoListeners
  readonly commands: DemoCommands
  readonly password: string
  /** A shell's line that the examples of the documentation build on. */
  readonly examples: string
  readonly isTerminal: boolean
}

function explanation({ listeners, commands, password, examples, isTerminal }: Explained): string {
  return `
Signalbox stands in front of two mail servers, "old" and "new". It listens on 127.0.0.1:
  IMAPS ${listeners.imaps}, IMAP with STARTTLS ${listeners.imap}, management API https ${listeners.admin}
Users: ${USERS.join(', ')}, password ${password}
alice is on the old server, bob on the new one, carol nowhere in the mapping: the default is old.

In another terminal:

1. Log in as alice and read her message:

${commands.login}

2. Move her to the new server, and end the sessions she has on the old one:

${commands.move}

3. Log in again:

${commands.login}

To go on with the examples of docs/management.md, give the shell what they use:

${examples}

Everything here is made for this run and gone with it. Ctrl-C ends the demo.
${isTerminal ? '\nLogins as they happen:\n' : ''}`
}
