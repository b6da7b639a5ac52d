/** The manual page haulier(8), from the table of commands. */
import { commands } from './commands.js';

/** Text as roff takes it: no line of it is a request, and its hyphens are minus signs. */
const roff = (text: string): string => text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^([.'])/gm, '\\&$1');

const files: readonly (readonly [string, string])[] = [
  ['/etc/nova/nova.conf', 'nova-compute\'s own configuration; Haulier reads the same options and a section [haulier].'],
  ['/var/lib/nova/instances/UUID/', 'a container: its specification, state, disk and console log (instances_path).'],
  ['/run/haulier/', 'what does not survive a boot of the host; control.sock is the service\'s ear for these commands (run_path).'],
];

/** The page. */
export function manual(): string {
  const entries = commands.flatMap(({ name, synopsis, summary, detail }) => [
    '.TP', `.B ${roff(name)}${synopsis ? ` \\fR${roff(synopsis)}` : ''}`, roff(`${summary[0]!.toUpperCase()}${summary.slice(1)}.${detail ? ` ${detail}` : ''}`),
  ]);
  return [
    '.\\" Generated from src/cli/commands.ts.',
    '.TH HAULIER 8 "" "Haulier" "System Administration"',
    '.SH NAME', 'haulier \\- the OpenStack compute service whose servers are containers',
    '.SH SYNOPSIS', '.B haulier', roff('[--config-file FILE]... [--config-dir DIR]... [--debug] [COMMAND [ARGUMENT]...]'),
    '.SH DESCRIPTION',
    roff('Takes the place of nova-compute on a host: same configuration, same RabbitMQ, same RPC. Containers run with runc; criu freezes them to disk and brings them back. They need nothing of the service while they run.'),
    '.PP', roff('Without a command it runs the service. The other commands are for the host\'s administrator, and need root. A container is named by its id, by the beginning of one, or by its server\'s name, host name or Nova\'s instance name.'),
    '.SH COMMANDS', ...entries,
    '.SH OPTIONS',
    '.TP', `.BR ${roff('--config-file')} " FILE, " ${roff('--config-dir')} " DIR"`, 'Read these, in this order, instead of the usual places. As all OpenStack services.',
    '.TP', `.BR ${roff('--debug')}`, 'Log more. The other options of the log are oslo\\(aqs:', '.BR \\-\\-log\\-file ,', '.BR \\-\\-log\\-dir ,', '.BR \\-\\-use\\-json ,', '.BR \\-\\-use\\-stderr .',
    '.TP', `.BR ${roff('--help')} ", " ${roff('--version')}`, 'What it says.',
    '.SH EXIT STATUS', roff('0 if all went well, 1 if not, 2 if the command cannot be understood. exec: that of the command.'),
    '.SH FILES', ...files.flatMap(([path, what]) => ['.TP', `.I ${roff(path)}`, roff(`${what[0]!.toUpperCase()}${what.slice(1)}`)]),
    '.SH SEE ALSO', '.BR runc (8),', '.BR conmon (8),', '.BR criu (8)', '',
  ].join('\n');
}
