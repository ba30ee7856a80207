/**
 * The three commands that the demo prints: log in, move the user, log in again. For curl, which is on most machines
 * and says what it does; where it is missing or was built without IMAP, for the Node that runs the demo.
 */
import { execFile } from 'node:child_process'

export interface CommandFacts {
  readonly user: string
  readonly password: string
  readonly destination: string
  readonly imapsPort: number
  readonly adminPort: number
  readonly token: string
  /** Path of the authority's PEM file. */
  readonly caPath: string
}

export interface DemoCommands {
  /** Logs in and shows the first message. */
  readonly login: string
  /** Changes the mapping and ends the user's sessions. */
  readonly move: string
}

/** A client to write commands for: curl, or this Node. */
export type CommandTool = 'curl' | { readonly node: string }

/** Resolves whether there is a curl that can speak both protocols (some builds leave IMAP out). */
export function hasCurl(env: NodeJS.ProcessEnv): Promise<boolean> {
  return new Promise((resolve) => {
    execFile('curl', ['--version'], { env, timeout: 5_000 }, (error, stdout) => {
      const protocols = /^Protocols:(.*)$/m.exec(stdout)?.[1]?.split(' ') ?? []
      resolve(error === null && protocols.includes('imaps') && protocols.includes('https'))
    })
  })
}

export function demoCommands(tool: CommandTool, facts: CommandFacts): DemoCommands {
  return tool === 'curl' ? curlCommands(facts) : nodeCommands(tool.node, facts)
}

function paths(facts: CommandFacts): { readonly put: string; readonly kick: string } {
  return {
    put: `/mappings?identifier=${facts.user}&destination=${facts.destination}`,
    kick: `/connections/kick?identifier=${facts.user}`,
  }
}

function curlCommands(facts: CommandFacts): DemoCommands {
  const curl = `curl -sS --cacert ${quoteForShell(facts.caPath)}`
  const ask = (method: string, path: string): string =>
    `${curl} -H 'Authorization: Bearer ${facts.token}' -X ${method} 'https://127.0.0.1:${facts.adminPort}${path}'`
  return {
    login: `${curl} -u '${facts.user}:${facts.password}' 'imaps://127.0.0.1:${facts.imapsPort}/INBOX;UID=1'`,
    move: `${ask('PUT', paths(facts).put)} &&\n${ask('POST', paths(facts).kick)}`,
  }
}

function nodeCommands(node: string, facts: CommandFacts): DemoCommands {
  const run = (script: string): string => `NODE_EXTRA_CA_CERTS=${quoteForShell(facts.caPath)} ${quoteForShell(node)} -e ${quoteForShell(script)}`
  const dialogue = String.raw`a LOGIN ${facts.user} ${facts.password}\r\nb SELECT INBOX\r\nc UID FETCH 1 BODY[]\r\nd LOGOUT\r\n`
  return {
    login: run(`const s = require("tls").connect(${facts.imapsPort}, "127.0.0.1"); s.pipe(process.stdout); s.write("${dialogue}")`),
    move: run(
      `const ask = async (method, path) => process.stdout.write(await (await fetch("https://127.0.0.1:${facts.adminPort}" + path, ` +
        `{ method, headers: { authorization: "Bearer ${facts.token}" } })).text()); ` +
        `ask("PUT", "${paths(facts).put}").then(() => ask("POST", "${paths(facts).kick}"))`,
    ),
  }
}

/** A word for a POSIX shell; left alone when it needs no quotes. */
export function quoteForShell(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
