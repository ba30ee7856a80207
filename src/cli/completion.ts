/**
 * `signalbox completion SHELL`: a script for the shell, made of the commands and options as the program knows them, so that
 * it cannot name what isn't there. Files are completed where an option or argument names one.
 */
import type { Command } from 'commander'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** One command: its words from the root on, and what may follow. */
interface Place {
  /** `signalbox mapping` is `mapping`. */
  readonly path: string
  readonly words: readonly { readonly word: string; readonly help: string }[]
  /** Whether a file may stand here as an argument. */
  readonly files: boolean
  /** Options that want a value, and what it is. */
  readonly values: ReadonlyMap<string, Value>
}

/** What stands behind an option: a file, one of a few words, or what nobody but the user knows. */
type Value = 'file' | 'any' | readonly string[]

export function completionScript(shell: Shell, root: Command): string {
  const places = placesOf(root, '')
  switch (shell) {
    case 'bash':
      return bash(places)
    case 'zsh':
      return zsh(places)
    case 'fish':
      return fish(places)
  }
}

function placesOf(command: Command, path: string): Place[] {
  const children = command.commands.filter((child) => child.name() !== 'help')
  const options = command.options.filter(({ hidden }) => !hidden).flatMap(({ long, description }) => (long === undefined || long === null ? [] : [{ word: long, help: description }]))
  const choices = command.registeredArguments.flatMap(({ argChoices, description }) => (argChoices ?? []).map((word) => ({ word, help: description })))
  const help = { word: '--help', help: 'what it does, with examples' }
  const words = [...children.map((child) => ({ word: child.name(), help: child.description() })), ...choices, ...options, help]
  const files = command.registeredArguments.some((argument) => argument.name() === 'file')
  const values = new Map<string, Value>()
  for (const { long, required, optional, argChoices, flags } of command.options) {
    if (typeof long === 'string' && (required || optional)) values.set(long, argChoices ?? (flags.endsWith('<file>') ? 'file' : 'any'))
  }
  const own: Place = { path, words, files, values }
  return [own, ...children.flatMap((child) => placesOf(child, path === '' ? child.name() : `${path} ${child.name()}`))]
}

/** Which command the words before the cursor name: those that are commands, in their order. */
const WALK = `  local path="" word
  for word in "\${words[@]}"; do
    case " $known " in *" \${path:+$path/}$word "*) path="\${path:+$path/}$word" ;; esac
  done`

function known(places: readonly Place[]): string {
  return places.map(({ path }) => path.replaceAll(' ', '/')).filter((path) => path !== '').join(' ')
}

function cases(places: readonly Place[], indent: string): string {
  return places.map(({ path, words }) => `${indent}"${path.replaceAll(' ', '/')}") found="${words.map(({ word }) => word).join(' ')}" ;;`).join('\n')
}

/** Options of all commands by what stands behind them. */
function valuesOf(places: readonly Place[]): ReadonlyMap<string, Value> {
  return new Map(places.flatMap(({ values }) => [...values]))
}

/** `"$prev"` is an option that wants a value: `file` and `words` say how the shell offers them. */
function valueCases(places: readonly Place[], file: string, words: (choices: readonly string[]) => string): string {
  return [...valuesOf(places)]
    .map(([option, value]) => `    ${option}) ${value === 'file' ? file : value === 'any' ? ':' : words(value)}; return ;;`)
    .join('\n')
}

function filePlaces(places: readonly Place[]): string {
  return places.filter(({ files }) => files).map(({ path }) => path.replaceAll(' ', '/')).join(' ')
}

function bash(places: readonly Place[]): string {
  return `# bash completion for signalbox:  source <(signalbox completion bash)
_signalbox() {
  local known="${known(places)}" found="" words=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
  local current="\${COMP_WORDS[COMP_CWORD]}"
${WALK}
  COMPREPLY=()
  case "\${COMP_WORDS[COMP_CWORD-1]}" in
${valueCases(places, 'COMPREPLY=($(compgen -f -- "$current"))', (choices) => `COMPREPLY=($(compgen -W "${choices.join(' ')}" -- "$current"))`)}
  esac
  case "$path" in
${cases(places, '    ')}
  esac
  COMPREPLY=($(compgen -W "$found" -- "$current"))
  case " ${filePlaces(places)} " in *" $path "*) COMPREPLY+=($(compgen -f -- "$current")) ;; esac
}
complete -o filenames -F _signalbox signalbox
`
}

function zsh(places: readonly Place[]): string {
  return `#compdef signalbox
# zsh completion for signalbox:  source <(signalbox completion zsh)
_signalbox() {
  local known="${known(places)}" found="" previous="\${words[CURRENT-1]}"
  local -a words_before
  words_before=("\${(@)words[2,CURRENT-1]}")
  local path_="" word
  for word in "\${words_before[@]}"; do
    case " $known " in *" \${path_:+$path_/}$word "*) path_="\${path_:+$path_/}$word" ;; esac
  done
  case "$previous" in
${valueCases(places, '_files', (choices) => `compadd -- ${choices.join(' ')}`)}
  esac
  case "$path_" in
${cases(places, '    ')}
  esac
  compadd -- \${=found}
  case " ${filePlaces(places)} " in *" $path_ "*) _files ;; esac
}
compdef _signalbox signalbox
`
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, files, values }) => {
    const condition = `test (__signalbox_path) = '${path.replaceAll(' ', '/')}'`
    const begin = `complete -c signalbox -n "${condition}"`
    const offered = words.map(({ word, help }) => {
      const what = word.startsWith('--') ? `-l ${word.slice(2)}${fishValue(values.get(word))}` : `-a ${word}`
      return `${begin} ${what} -d '${help.replaceAll("'", "\\'")}'`
    })
    return files ? [...offered, `${begin} -F`] : offered
  })
  return `# fish completion for signalbox:  signalbox completion fish | source
function __signalbox_path
  set -l known ${known(places)}
  set -l path ''
  for word in (commandline -opc)[2..-1]
    set -l next (string join -- / (string match -v -- '' $path) $word)
    contains -- $next $known; and set path $next
  end
  echo "$path"
end
complete -c signalbox -f
${lines.join('\n')}
`
}

function fishValue(value: Value | undefined): string {
  if (value === undefined) return ''
  return value === 'file' ? ' -r -F' : value === 'any' ? ' -x' : ` -x -a '${value.join(' ')}'`
}
