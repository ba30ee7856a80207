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
  /** Whether a file may stand here. */
  readonly files: boolean
}

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
  const words = [...children.map((child) => ({ word: child.name(), help: child.description() })), ...options, { word: '--help', help: 'what it does, with examples' }]
  const files = command.registeredArguments.some((argument) => argument.name() === 'file')
  const own: Place = { path, words, files: files || options.some(({ word }) => FILE_OPTIONS.has(word)) }
  return [own, ...children.flatMap((child) => placesOf(child, path === '' ? child.name() : `${path} ${child.name()}`))]
}

const FILE_OPTIONS = new Set(['--config', '--ca', '--token-file', '--from', '--rest', '--output'])

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

function bash(places: readonly Place[]): string {
  return `# bash completion for signalbox:  source <(signalbox completion bash)
_signalbox() {
  local known="${known(places)}" found="" words=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
${WALK}
  case "$path" in
${cases(places, '    ')}
  esac
  COMPREPLY=($(compgen -W "$found" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _signalbox signalbox
`
}

function zsh(places: readonly Place[]): string {
  return `#compdef signalbox
# zsh completion for signalbox:  source <(signalbox completion zsh)
_signalbox() {
  local known="${known(places)}" found="" current="$PREFIX"
  local -a words_before
  words_before=("\${(@)words[2,CURRENT-1]}")
  local path_="" word
  for word in "\${words_before[@]}"; do
    case " $known " in *" \${path_:+$path_/}$word "*) path_="\${path_:+$path_/}$word" ;; esac
  done
  case "$path_" in
${cases(places, '    ')}
  esac
  compadd -- \${=found}
  [[ "$current" == -* ]] || _files
}
compdef _signalbox signalbox
`
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, files }) => {
    const condition = `test (__signalbox_path) = '${path.replaceAll(' ', '/')}'`
    return words.map(({ word, help }) => {
      const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-a ${word}`
      return `complete -c signalbox ${files ? '' : '-f '}-n "${condition}" ${what} -d '${help.replaceAll("'", "\\'")}'`
    })
  })
  return `# fish completion for signalbox:  signalbox completion fish | source
function __signalbox_path
  set -l known ${known(places)}
  set -l path ''
  for word in (commandline -opc)[2..-1]
    set -l next (string join / (string match -v '' $path) $word)
    contains -- $next $known; and set path $next
  end
  echo "$path"
end
${lines.join('\n')}
`
}
