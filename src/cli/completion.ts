/** The completion for bash, from the table of commands. */
import { commands } from './commands.js';

const global = ['--config-file', '--config-dir', '--debug', '--help', '--version'];

/** A script for bash-completion. */
export function completion(): string {
  const cases = commands.flatMap(({ name, first, second, options = [] }) => {
    const words = first === undefined ? '' : first === 'container' ? '$(__haulier_containers)' : first.join(' ');
    const rest = second === undefined ? '' : '$(__haulier_containers)';
    if (!words && options.length === 0) return [];
    return [`    ${name}) options="${options.join(' ')}" first="${words}" second="${rest}" ;;`];
  });
  return `# shellcheck shell=bash
# Completion of haulier for bash. Made by \`haulier completion\`.
__haulier_containers() {
  haulier ps 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_haulier() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} command="" place=0 at options="" first="" second=""
  COMPREPLY=()
  case $before in
    --config-file | --config-dir | --output | --log-file | --log-dir)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
  esac
  for ((at = 1; at < COMP_CWORD; at++)); do
    case \${COMP_WORDS[at]} in
      --config-file | --config-dir) at=$((at + 1)) ;;
      -*) ;;
      *) if [ -z "$command" ]; then command=\${COMP_WORDS[at]}; else place=$((place + 1)); fi ;;
    esac
  done
  case $command in
    "")
      mapfile -t COMPREPLY < <(compgen -W "${commands.map(({ name }) => name).join(' ')} ${global.join(' ')}" -- "$word")
      return
      ;;
${cases.join('\n')}
  esac
  case $word in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word") ;;
    *)
      case $place in
        0) mapfile -t COMPREPLY < <(compgen -W "$first" -- "$word") ;;
        1) mapfile -t COMPREPLY < <(compgen -W "$second" -- "$word") ;;
      esac
      ;;
  esac
}

complete -F _haulier haulier
`;
}
