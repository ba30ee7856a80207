/**
 * The command line. Each command is a file of its own, loaded when it is called (a whole proxy would be much to load for
 * a question); this one and operate.ts know their names, arguments and help. Exit statuses: 0 done, 1 refused or failed,
 * 2 wrong usage or configuration.
 */
import { Argument, Command, CommanderError } from 'commander'
import type { EarlySignals } from '../early-signals.ts'
import { VERSION } from '../version.ts'
import { SHELLS } from './completion.ts'
import { addOperatorCommands } from './operate.ts'

const out = (text: string): void => void process.stdout.write(text)
const err = (text: string): void => void process.stderr.write(text)
/** Until everything has gone out, or nobody takes it any more: the process ends right after. */
const flushed = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise((resolve) => {
    stream.once('error', () => resolve()).write('', () => resolve())
  })

/** Runs the command that `args` names. `signals`: those that come before the command is known. Resolves with the exit status. */
export async function program(args: readonly string[], env: NodeJS.ProcessEnv, signals: EarlySignals): Promise<number> {
  let status = 0
  const root: Command = new Command('signalbox')
    .description('A clustered mail proxy that sends every account to the server that holds its mailbox')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(signalbox --help says more)')
    .enablePositionalOptions()
    .argument('[file]', 'configuration file: the same as "serve FILE"')
    .addHelpText(
      'after',
      `
Examples:
  signalbox demo                  two mail servers and the proxy in front of them, to try it out
  signalbox check mail.toml       every mistake of a configuration at once
  signalbox serve mail.toml       run it (PROXY_CONFIG=mail.toml signalbox serve does the same)
  signalbox cutover --to new carol@example.com --config mail.toml

Exit statuses: 0 done, 1 refused or failed, 2 wrong usage or configuration.`,
    )
    .action(async (file: string | undefined) => {
      const path = file ?? env['PROXY_CONFIG']
      if (path === undefined) root.help({ error: true })
      status = await (await import('./serve.ts')).serve(path, env, err, signals)
    })
  const instance = root
    .command('serve')
    .description('run an instance with this configuration')
    .argument('[file]', 'configuration file (default: $PROXY_CONFIG)')
    .addHelpText('after', '\nExample:\n  signalbox serve /etc/signalbox/mail.toml')
    .action(async (file: string | undefined, _options, command: Command) => {
      const path = file ?? env['PROXY_CONFIG']
      if (path === undefined) command.error('error: no configuration file: name one, or set PROXY_CONFIG')
      status = await (await import('./serve.ts')).serve(path, env, err, signals)
    })
  // To an instance alone signals are more than Node makes of them.
  root.hook('preAction', (_root, command) => (command === root || command === instance ? undefined : signals.releaseAll()))
  root
    .command('check')
    .description('say everything that is wrong with a configuration, or what it would do')
    .argument('[file]', 'configuration file (default: $PROXY_CONFIG)')
    .option('--probe', 'connect to every destination and hold what is advertised against what it can do')
    .addHelpText('after', '\nExamples:\n  signalbox check /etc/signalbox/mail.toml && systemctl reload signalbox\n  signalbox check --probe /etc/signalbox/mail.toml')
    .action(async (file: string | undefined, options: { probe?: boolean }, command: Command) => {
      const path = file ?? env['PROXY_CONFIG']
      if (path === undefined) command.error('error: no configuration file: name one, or set PROXY_CONFIG')
      status = await (await import('./check.ts')).check(path, env, out, err, options)
    })
  root
    .command('demo')
    .description('run two small mail servers and the proxy in front of them, and print three commands to try')
    .addHelpText('after', '\nExample:\n  signalbox demo')
    .action(async () => {
      status = await (await import('./demo.ts')).demo()
    })
  addOperatorCommands(root, env, (ended) => (status = ended))
  root
    .command('completion')
    .description('a script that completes commands and options in your shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText('after', '\nExamples:\n  source <(signalbox completion bash)\n  signalbox completion fish | source')
    .action(async (shell: (typeof SHELLS)[number]) => {
      out((await import('./completion.ts')).completionScript(shell, root))
    })
  try {
    await root.parseAsync([...args], { from: 'user' })
    return status
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown
    // Help and version that were asked for end with 0; everything else is wrong usage.
    return thrown.exitCode === 0 ? 0 : 2
  } finally {
    await Promise.all([flushed(process.stdout), flushed(process.stderr)])
  }
}
