/**
 * GNU tar in the jail, and what its exit means. Tar itself drops leading `/`, refuses `..`, and makes absolute or climbing symbolic
 * links only after everything else; the jail holds whatever it may get wrong.
 */
import { saysDiskFull } from '../../base/disk-full.js';
import { jailed } from './jail.js';
import type { ProcessEnd } from './piped-process.js';

/** What it takes to give files their owners, modes and file capabilities. Not MKNOD: device nodes are left out. */
const capabilities = ['CAP_CHOWN', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_DAC_OVERRIDE', 'CAP_SETFCAP'];

/**
 * What an archive holds. `tree`: a root file system; `layer`: one layer of it, whose whiteouts are not unpacked; `parts`: files that are
 * nobody's in particular.
 */
export type ArchiveKind = 'tree' | 'layer' | 'parts';

const treeOptions = [
  '--same-owner', '--preserve-permissions', '--acls', '--xattrs', '--xattrs-include=security.capability', '--xattrs-include=user.*',
  // the runtime makes /dev; `*` matches `/` too, and only from the name's beginning
  '--anchored', '--exclude=./dev/*', '--exclude=dev/*', '--exclude=/dev/*',
];

const optionsOf: Readonly<Record<ArchiveKind, readonly string[]>> = {
  tree: treeOptions,
  layer: [...treeOptions, '--no-anchored', '--exclude=.wh.*'],
  parts: ['--no-same-owner', '--no-same-permissions', '--no-acls', '--no-xattrs'],
};

/** The command line that unpacks an archive from its standard input into `folder`, one listing line an entry on standard output. */
export function tarExtract(folder: string, maxFileBytes: number, kind: ArchiveKind = 'tree'): readonly [string, ...string[]] {
  return jailed(
    ['tar', '--extract', '--file=-', '--verbose', '--quoting-style=escape', '--numeric-owner', '--delay-directory-restore', ...optionsOf[kind],
      '--warning=no-timestamp', '--warning=no-unknown-keyword'],
    { folder: { path: folder, writable: true }, capabilities: kind === 'parts' ? ['CAP_DAC_OVERRIDE'] : capabilities, maxFileBytes },
  );
}

/** The command line that lists an archive from its standard input, a line each as `parseListing` takes them. */
export function tarList(): readonly [string, ...string[]] {
  return jailed(['tar', '--list', '--file=-', '--verbose', '--quoting-style=escape', '--numeric-owner', '--utc', '--warning=no-timestamp', '--warning=no-unknown-keyword']);
}

/** One entry of a listing. */
export interface Listed {
  /** As `ls -l` begins: `d` folder, `-` file, `l` symbolic link, `h` hard link... */
  readonly type: string;
  /** latin1, one character a byte, as it stands in the archive. */
  readonly name: string;
}

const escapes: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/**
 * Reads a line of `tarList`'s output; undefined if it is none, or may be read in two ways: a time that is no date is one word instead of
 * two, and spaces in names are not escaped.
 */
export function parseListing(line: string): Listed | undefined {
  const [, type = '', rest = ''] = /^(\S)\S* +\d+\/\d+ +[\d,]+ -?\d{4,}-\d\d-\d\d \d\d:\d\d (.*)$/.exec(line) ?? [];
  if (type === '') return undefined;
  const link = type === 'l' ? ' -> ' : type === 'h' ? ' link to ' : undefined;
  const [shown = '', ...targets] = link === undefined ? [rest] : rest.split(link);
  if (targets.length !== (link === undefined ? 0 : 1)) return undefined;
  return { type, name: shown.replace(/\\([0-7]{3}|.)/g, (_, code: string) => (code.length === 3 ? String.fromCharCode(parseInt(code, 8)) : escapes[code] ?? code)) };
}

/** A device node that tar could not make is one that we do not want. */
const tolerated = /: Cannot mknod: Operation not permitted$/;
const noise = /^tar: (Exiting with failure status due to previous errors|Removing leading .* from (member names|hard link targets))$/;

/** What became of an archive. */
export type TarVerdict = { readonly ok: true } | { readonly ok: false; readonly diskFull: boolean; readonly reason: string };

/** Reads tar's exit code and error output (locale C). */
export function tarVerdict(end: ProcessEnd): TarVerdict {
  if (end.code === 0) return { ok: true };
  // `prlimit` execs tar, bubblewrap passes a fatal signal on as 128 + number: SIGXFSZ is 25
  if (end.signal === 'SIGXFSZ' || end.code === 128 + 25) return { ok: false, diskFull: false, reason: 'it holds a file larger than the limit' };
  const complaints = end.stderr.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !tolerated.test(line) && !noise.test(line));
  if (end.code === 2 && complaints.length === 0) return { ok: true };
  const diskFull = saysDiskFull(end.stderr) || /: Wrote only \d+ of \d+ bytes$/m.test(end.stderr);
  const first = complaints[0]?.replace(/^tar: /, '') ?? `tar ended with ${end.signal ?? `exit code ${end.code}`}`;
  return { ok: false, diskFull, reason: first.slice(0, 300) };
}
