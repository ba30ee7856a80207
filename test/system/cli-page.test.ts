import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { CommandLine } from '../support/command-line.ts'
import { stringify } from 'smol-toml'
import { Premises } from '../support/premises.ts'

/** What differs from run to run: figures, and how wide they make a column. */
function shape(text: string): string {
  return text.replace(/\d+(\.\d+)?/g, 'N').replace(/ +/g, ' ')
}

describe('the examples of docs/cli.md', { timeout: 300_000 }, () => {
  it('work as printed, one after the other, and print what is printed', async () => {
    const page = await readFile(new URL('../../docs/cli.md', import.meta.url), 'utf8')
    const examples = [...page.matchAll(/```sh\n([^`]+)```\n```text\n([^`]+)```/g)]
    const commands = [...page.matchAll(/```sh\n([^`]+)```/g)]
    assert.ok(examples.length >= 20, 'the pattern finds them')
    assert.deepEqual(commands.filter(([, command = '']) => !examples.some((example) => example[1] === command)).map(([, command]) => command), [
      'export PROXY_CONFIG=/etc/signalbox/mail.toml\n',
    ])
    await using premises = await Premises.make()
    const one = { host: '127.0.0.1', forwarding: 'none', allow_plaintext_auth: true, protocol: { imap: { port: 1, tls: 'plain' } } }
    const { destination: _, ...rest } = premises.tables()
    const whole = stringify({ ...rest, destination: { old: one, new: one }, routing: { default_destination: 'old' } })
    await writeFile(premises.at('mail.toml'), whole)
    await writeFile(premises.at('mappings'), 'alice@example.com\told\nbob@example.com\tnew\n')
    await premises.start(whole)
    const cli = await CommandLine.make(premises.directory, premises.at('mail.toml'))
    for (const [, command = '', printed = ''] of examples) {
      const { out, err, code } = await cli.shell(command)
      assert.equal(shape(`${out}${err}`), shape(printed), command)
      // What is said besides is no refusal.
      const refused = printed.startsWith('signalbox: ') && !printed.includes('all accounts go to')
      assert.equal(code, refused ? 1 : 0, command)
    }
  })

  it('leave no command out', async () => {
    const page = await readFile(new URL('../../docs/cli.md', import.meta.url), 'utf8')
    await using premises = await Premises.make()
    const cli = await CommandLine.make(premises.directory, undefined)
    const names = async (...path: string[]): Promise<string[]> => {
      const { out } = await cli.run(...path, '--help')
      const listed = /^Commands:\n([^]*?)\n\n/m.exec(out)?.[1] ?? ''
      return [...listed.matchAll(/^ {2}(\w+)/gm)].map(([, name = '']) => [...path, name].join(' '))
    }
    const root = await names()
    assert.ok(root.length >= 11, String(root))
    const inner = await Promise.all(['mapping', 'sessions', 'destinations', 'fleet'].map((name) => names(name)))
    for (const name of [...root, ...inner.flat()]) {
      if (/\bhelp$/.test(name)) continue
      assert.ok(page.includes(`signalbox ${name}`), name)
      const { out, code } = await cli.run(...name.split(' '), '--help')
      assert.equal(code, 0)
      assert.match(out, /\nExamples?:\n {2}/, name)
    }
  })
})
