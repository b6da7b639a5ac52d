/** The mounts that a process sees. */
import { textOf } from '../kernel-files.js';

/** One line of `/proc/PID/mountinfo` (proc(5)). */
export interface GuestMount {
  readonly id: number;
  /** major:minor of the file system. */
  readonly device: string;
  readonly root: string;
  readonly point: string;
  readonly type: string;
  readonly source: string;
}

const unescape = (text: string): string => text.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

/** Reads the text of `mountinfo`. */
export function parseMounts(text: string): GuestMount[] {
  return text.split('\n').filter(Boolean).map((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [id, , device = '', root = '', point = ''] = before.split(' ');
    const [type = '', source = ''] = after.split(' ');
    return { id: Number(id), device, root: unescape(root), point: unescape(point), type, source: unescape(source) };
  });
}

/** Mounts that the process sees; none if it is gone. */
export function readMounts(pid: number): GuestMount[] {
  return parseMounts(textOf(`/proc/${pid}/mountinfo`));
}
