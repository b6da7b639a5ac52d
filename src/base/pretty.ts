/** A log record as a line that people read, in the order of oslo.log's: time, level, request and instance, message; then the rest. */

const levels: Readonly<Record<number, readonly [string, number]>> = { 10: ['TRACE', 90], 20: ['DEBUG', 90], 30: ['INFO', 32], 40: ['WARNING', 33], 50: ['ERROR', 31], 60: ['CRITICAL', 35] };
const own = new Set(['v', 'name', 'hostname', 'pid', 'level', 'time', 'msg', 'req', 'instance', 'op', 'err']);

/** Text that others may have written, so that it cannot command the terminal: of control characters only tab and newline are left. */
export const harmless = (text: string): string => text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '?');

/** The same for text that shall stay in its line or column: none of them is left. */
export const harmlessLine = (text: string): string => harmless(text).replace(/[\t\n]/g, '?');

/** @param record as bunyan makes it, secrets masked already @param colour with colours */
export function prettyLine(record: Readonly<Record<string, unknown>>, colour: boolean): string {
  const [level, code] = levels[Number(record['level'])] ?? [String(record['level']), 0];
  const time = String(record['time'] instanceof Date ? record['time'].toISOString() : record['time']).replace('T', ' ').replace('Z', '');
  const about = [record['req'], record['op'], record['instance']].filter((value) => typeof value === 'string').join(' ');
  const rest = Object.entries(record).filter(([key, value]) => !own.has(key) && value !== undefined).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ');
  const error = record['err'] as { stack?: unknown; message?: unknown } | undefined;
  const trace = error ? `\n${String(error.stack ?? error.message)}` : '';
  const word = colour ? `\x1b[${code}m${level}\x1b[0m` : level;
  return `${harmless(time)} ${word} ${about ? `[${harmless(about)}] ` : ''}${harmless(`${String(record['msg'])}${rest ? ` (${rest})` : ''}${trace}`)}\n`;
}
