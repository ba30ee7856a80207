/**
 * The commands for operators of a running instance: their names, arguments, options and help. What they do is in files of
 * their own, loaded when one is called.
 */
import { Argument, InvalidArgumentError, Option } from 'commander'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { parseDuration } from '../config/duration.ts'
import { HOLD_MS } from '../limits.ts'
import type { TalkOptions } from './talk.ts'
import type { Terminal } from './terminal.ts'

/** Adds the commands to `root`. `ended` gets the exit status of the one that ran. */
export function addOperatorCommands(root: Command, env: Terminal['env'], ended: (status: number) => void): void {
  const terminal: Terminal = { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env, clock: systemClock }
  addMapping(root, terminal, ended)
  addCutover(root, terminal, ended)
  addLive(root, terminal, ended)
}

/** The options of every command that talks to an instance. */
function talking(command: Command, examples: readonly string[]): Command {
  return command
    .option('-c, --config <file>', 'configuration of the instance: URL, token and certificate (default: $PROXY_CONFIG)')
    .option('--url <url>', 'https://HOST:PORT of its management, instead of the configuration\'s')
    .option('--token-file <file>', 'file with the token (default: $PROXY_ADMIN_TOKEN, or the configuration\'s)')
    .option('--ca <file>', 'PEM file with authorities to trust besides')
    .option('--insecure', 'trust whatever certificate it shows')
    .option('--json', 'the API\'s own JSON on standard output')
    .addHelpText('after', `\n${examples.length === 1 ? 'Example' : 'Examples'}:\n${examples.map((example) => `  ${example}`).join('\n')}`)
}

function natural(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1.')
  return Number(text)
}

function holdSeconds(text: string): number {
  const seconds = natural(text)
  if (seconds > HOLD_MS / 1000) throw new InvalidArgumentError(`It must be at most ${HOLD_MS / 1000}.`)
  return seconds
}

function duration(text: string): string {
  if (!parseDuration(text).ok) throw new InvalidArgumentError('It must be a duration such as 30s.')
  return text
}

function addMapping(root: Command, terminal: Terminal, ended: (status: number) => void): void {
  const mapping = root.command('mapping').description('which destination holds an account').addHelpText('after', `
Examples:
  signalbox mapping get carol@example.com
  signalbox mapping import accounts.tsv --dry-run
  signalbox mapping summary`)
  talking(mapping.command('get').description('where a login of an account would go').argument('<account>'), [
    'signalbox mapping get carol@example.com',
  ]).action(async (account: string, options: TalkOptions) => {
    ended(await (await import('./mapping.ts')).mappingGet(terminal, account, options))
  })
  talking(mapping.command('put').description('map an account to a destination').argument('<account>').argument('<destination>'), [
    'signalbox mapping put carol@example.com new',
  ]).action(async (account: string, destination: string, options: TalkOptions) => {
    ended(await (await import('./mapping.ts')).mappingPut(terminal, account, destination, options))
  })
  talking(mapping.command('delete').description('remove the mapping of an account: it goes to the default destination').argument('<account>'), [
    'signalbox mapping delete carol@example.com',
  ]).action(async (account: string, options: TalkOptions) => {
    ended(await (await import('./mapping.ts')).mappingDelete(terminal, account, options))
  })
  talking(mapping.command('list').description('mappings, ordered by account'), [
    'signalbox mapping list --destination new',
    'signalbox mapping list --prefix carol --limit 1000',
  ])
    .option('--destination <name>', 'only accounts mapped to it')
    .option('--prefix <text>', 'only accounts that begin so')
    .option('--limit <number>', 'how many at most', natural, 100)
    .action(async (options: TalkOptions & { readonly limit: number }) => {
      ended(await (await import('./mapping.ts')).mappingList(terminal, options))
    })
  talking(mapping.command('summary').description('how many accounts are mapped to each destination'), [
    'signalbox mapping summary',
  ]).action(async (options: TalkOptions) => {
    ended(await (await import('./mapping.ts')).mappingSummary(terminal, options))
  })
  talking(mapping.command('export').description('all mappings in the format of a mapping file'), [
    'signalbox mapping export > mappings.tsv',
    'signalbox mapping export --destination old --output old.tsv',
  ])
    .option('--destination <name>', 'only accounts mapped to it')
    .option('--prefix <text>', 'only accounts that begin so')
    .option('-o, --output <file>', 'write it there; the file is there once it is whole')
    .action(async (options: TalkOptions) => {
      ended(await (await import('./mapping.ts')).mappingExport(terminal, options))
    })
  talking(mapping.command('import').description('take in mappings in the format of a mapping file: all of them, or none').argument('<file>', '- is standard input'), [
    'signalbox mapping import accounts.tsv --dry-run',
    'signalbox mapping import accounts.tsv',
    'zcat accounts.gz | signalbox mapping import - --mode replace',
  ])
    .addOption(new Option('--mode <mode>', 'merge leaves accounts that the file lacks, replace removes them').choices(['merge', 'replace']).default('merge'))
    .option('--dry-run', 'everything but the change: says what it would be')
    .action(async (file: string, options: TalkOptions & { readonly mode: 'merge' | 'replace'; readonly dryRun?: boolean }) => {
      ended(await (await import('./mapping-import.ts')).mappingImport(terminal, file, options))
    })
  talking(mapping.command('reload').description('read the mapping file again'), [
    'signalbox mapping reload',
  ]).action(async (options: TalkOptions) => {
    ended(await (await import('./mapping.ts')).mappingReload(terminal, options))
  })
}

function addCutover(root: Command, terminal: Terminal, ended: (status: number) => void): void {
  talking(root.command('cutover').description('move accounts to another destination: hold logins, map, end sessions, let in').argument('[account...]'), [
    'signalbox cutover --to new carol@example.com',
    'signalbox cutover --to new --from accounts.txt',
    'signalbox mapping export --prefix a | signalbox cutover --to new --from -',
  ])
    .requiredOption('--to <destination>', 'where they go')
    .option('--from <file>', 'a list, an account a line; - is standard input')
    .option('--hold <seconds>', 'how long logins of an account wait at most', holdSeconds)
    .option('--rest <file>', 'where accounts that were not moved are written (default: FILE.rest)')
    .action(async (accounts: string[], options: TalkOptions & { readonly to: string; readonly from?: string }, command: Command) => {
      if (accounts.length === 0 && options.from === undefined) command.error('error: no account: name some, or a list with --from')
      ended(await (await import('./cutover.ts')).cutover(terminal, accounts, options))
    })
}

function addLive(root: Command, terminal: Terminal, ended: (status: number) => void): void {
  const live = () => import('./live.ts')
  talking(root.command('kick').description('end the sessions of an account').argument('<account>'), ['signalbox kick carol@example.com']).action(
    async (account: string, options: TalkOptions) => ended(await (await live()).kick(terminal, account, options)),
  )
  const sessions = talking(root.command('sessions').description('who is connected'), [
    'signalbox sessions --destination old',
    'signalbox sessions summary',
    'signalbox sessions drain old --over 30s',
  ])
    .option('--account <account>', 'only of this account')
    .option('--destination <name>', 'only to this destination')
    .option('--limit <number>', 'how many at most', natural)
    .action(async (options: TalkOptions) => ended(await (await live()).sessions(terminal, options)))
  talking(sessions.command('summary').description('how many sessions there are, by destination and protocol'), ['signalbox sessions summary']).action(
    async (_: TalkOptions, command: Command) => ended(await (await live()).sessionsSummary(terminal, command.optsWithGlobals())),
  )
  talking(sessions.command('drain').description('end the sessions at a destination').argument('<destination>'), ['signalbox sessions drain old --over 30s'])
    .option('--over <duration>', 'spread over this time, such as 30s', duration)
    .action(async (destination: string, _: TalkOptions, command: Command) => {
      ended(await (await live()).sessionsDrain(terminal, destination, command.optsWithGlobals()))
    })
  const destinations = talking(root.command('destinations').description('the destinations and whether they are up'), [
    'signalbox destinations',
    'signalbox destinations state old drain',
    'signalbox destinations reset old',
  ]).action(async (options: TalkOptions) => ended(await (await live()).destinations(terminal, options)))
  talking(destinations.command('reset').description('forget the failures of a destination').argument('<destination>'), ['signalbox destinations reset old']).action(
    async (destination: string, _: TalkOptions, command: Command) => ended(await (await live()).destinationReset(terminal, destination, command.optsWithGlobals())),
  )
  talking(destinations.command('state').description('take a destination out by hand, or in again').argument('<destination>').addArgument(new Argument('<state>').choices(['up', 'drain', 'down'])), [
    'signalbox destinations state old drain',
  ])
    .option('--over <duration>', 'with drain: end its sessions over this time, such as 30s', duration)
    .action(async (destination: string, state: string, _: TalkOptions, command: Command) => {
      ended(await (await live()).destinationState(terminal, destination, state, command.optsWithGlobals()))
    })
  const fleet = talking(root.command('fleet').description('the instances, as one of them sees them'), ['signalbox fleet', 'signalbox fleet forget mx2']).action(
    async (options: TalkOptions) => ended(await (await live()).fleet(terminal, options)),
  )
  talking(fleet.command('forget').description('forget an instance that is lost').argument('<instance>'), ['signalbox fleet forget mx2']).action(
    async (instance: string, _: TalkOptions, command: Command) => ended(await (await live()).fleetForget(terminal, instance, command.optsWithGlobals())),
  )
  talking(root.command('top').description('what an instance is at, drawn anew every other second; Ctrl-C ends it'), ['signalbox top', 'signalbox top --once'])
    .option('--interval <seconds>', 'between two looks', natural, 2)
    .option('--once', 'one look, then the end')
    .action(async (options: TalkOptions & { readonly interval: number }) => ended(await (await import('./top.ts')).top(terminal, options)))
}
