/** What can be wrong with a configuration, gathered so that an operator sees all of it at once. */
import { HaulierError } from '../errors.js';

/** One thing that is wrong. */
export interface ConfigProblem {
  /** `file:line`, a file or directory, or `command line`. */
  readonly where: string;
  /** Section as the operator wrote it, or `-`. */
  readonly section: string;
  /** Option name, or `-` where the line has none. */
  readonly option: string;
  /** What is wrong and what is allowed. Never holds a secret. */
  readonly problem: string;
}

const lineOf = (one: ConfigProblem): string => `${one.where}: [${one.section}] ${one.option}: ${one.problem}`;

/**
 * The one error for all `problems` (at least one): its message has a line for each, in order; `cause` is the list itself.
 * The first problem is in the details `file`, `section`, `option`.
 */
export function configInvalid(problems: readonly ConfigProblem[]): HaulierError {
  const [first, ...rest] = problems;
  if (!first) throw new RangeError('configInvalid without a problem');
  return new HaulierError(
    'CONFIG_INVALID',
    { file: first.where, section: first.section, option: first.option, problem: [first.problem, ...rest.map(lineOf)].join('\n') },
    { cause: problems },
  );
}
