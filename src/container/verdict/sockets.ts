/** The sockets of a container's network namespaces, by inode. */
import { textOf } from '../kernel-files.js';

/** What is known of one socket. */
export interface GuestSocket {
  /** Name of the table in `/proc/PID/net` that lists it. */
  readonly family: string;
  /** The table's state, as `0A` for a TCP socket that listens. */
  readonly state: string;
  /** Bytes (or, of a TCP socket that listens, connections) that wait to be read. */
  readonly unread: number;
  /** Local address as the table shows it; the path of a Unix socket. */
  readonly address: string;
}

/** By inode. */
export type GuestSockets = ReadonlyMap<number, GuestSocket>;

type Reader = (columns: readonly string[]) => (GuestSocket & { readonly inode: number }) | undefined;

const internet = (family: string): Reader => (columns) => {
  const [, address = '', , state = '', queues = ''] = columns;
  const unread = parseInt(queues.split(':')[1] ?? '0', 16);
  return { family, state, unread, address, inode: Number(columns[9]) };
};

/** Tables and how their lines are read; column numbers as in the kernel's `*_seq_show` functions. */
const tables: Readonly<Record<string, Reader>> = {
  tcp: internet('tcp'), tcp6: internet('tcp6'), udp: internet('udp'), udp6: internet('udp6'), udplite: internet('udplite'), udplite6: internet('udplite6'),
  raw: internet('raw'), raw6: internet('raw6'), icmp: internet('icmp'), icmp6: internet('icmp6'),
  unix: (columns) => ({ family: 'unix', state: columns[5] ?? '', unread: 0, address: columns.slice(7).join(' '), inode: Number(columns[6]) }),
  netlink: (columns) => ({ family: 'netlink', state: '', unread: Number(columns[4]), address: columns[1] ?? '', inode: Number(columns[9]) }),
  packet: (columns) => ({ family: 'packet', state: '', unread: Number(columns[6]), address: columns[4] ?? '', inode: Number(columns[8]) }),
};

/** Lines of one table. */
export function parseTable(name: string, text: string): ReadonlyMap<number, GuestSocket> {
  const read = tables[name];
  const found = new Map<number, GuestSocket>();
  if (!read) return found;
  for (const line of text.split('\n').slice(1)) {
    const columns = line.trim().split(/\s+/);
    const socket = columns.length > 5 ? read(columns) : undefined;
    if (socket && socket.inode > 0) found.set(socket.inode, socket);
  }
  return found;
}

/**
 * True if the counters of a namespace (`/proc/PID/net/sockstat`, or `sockstat6`) say that no socket of that kind is in use. TCP's tables
 * take the kernel some milliseconds even if they are empty: it looks through the connections of the whole host.
 */
export function noneInUse(sockstat: string, row: string): boolean {
  return new RegExp(`^${row}: inuse 0\\b`, 'm').test(sockstat);
}

const listens = '0A';

/** The text of one of TCP's tables; empty if the namespace of the process has no such socket. */
function tcpTable(pid: number, name: 'tcp' | 'tcp6'): string {
  const [file, row] = name === 'tcp' ? ['sockstat', 'TCP'] : ['sockstat6', 'TCP6'];
  return noneInUse(textOf(`/proc/${pid}/net/${file}`), row) ? '' : textOf(`/proc/${pid}/net/${name}`);
}

/** True if a process in that process's network namespace has a TCP socket open that does more than listen. */
export function hasConnections(pid: number): boolean {
  return (['tcp', 'tcp6'] as const).some((name) => [...parseTable(name, tcpTable(pid, name)).values()].some(({ state }) => state !== listens));
}

/** True if both ends of some TCP connection are in that process's network namespace, by what `/proc/PID/net/tcp` and `tcp6` say. */
export function hasInnerConnections(pid: number): boolean {
  return innerConnections((['tcp', 'tcp6'] as const).map((name) => tcpTable(pid, name)));
}

/** The same from the text of the tables. */
export function innerConnections(texts: readonly string[]): boolean {
  // an IPv4 address may be in either table, mapped to IPv6 in the second: its last 8 digits are the same
  const end = (address: string): string => address.slice(-('00000000:0000'.length));
  const rows = texts.flatMap((text) => text.split('\n').slice(1)).map((line) => line.trim().split(/\s+/)).filter((columns) => columns.length > 5 && columns[3] !== listens);
  const own = new Set(rows.map((columns) => end(columns[1] ?? '')));
  return rows.some((columns) => own.has(end(columns[2] ?? '')));
}

/** @param pids one process of each network namespace */
export function readSockets(pids: readonly number[]): GuestSockets {
  const all = new Map<number, GuestSocket>();
  for (const pid of pids) {
    for (const name of Object.keys(tables)) {
      const text = name === 'tcp' || name === 'tcp6' ? tcpTable(pid, name) : textOf(`/proc/${pid}/net/${name}`);
      for (const [inode, socket] of parseTable(name, text)) all.set(inode, socket);
    }
  }
  return all;
}
