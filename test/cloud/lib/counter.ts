/** A process of a server that counts: what it says after a suspend tells whether it is the same. */
import { guest, type HostName } from './host.js';
import { until } from './machine.js';

/** Starts it below the guest's PID 1. */
export async function startCounter(host: HostName, id: string): Promise<void> {
  await guest(host, id, 'setsid sh -c \'n=0; echo $$ >/run/counter; while :; do n=$((n + 1)); echo $n >/run/count; usleep 50000; done\' </dev/null >/dev/null 2>&1 &');
  await until('it counts', 10, async () => (await count(host, id)) > 3);
}

/** How far it is. */
export async function count(host: HostName, id: string): Promise<number> {
  return Number(await guest(host, id, 'cat /run/count 2>/dev/null || echo 0'));
}

/** It goes on from where it was: not lower than before, and it moves. @param before what it said last */
export async function countsOn(host: HostName, id: string, before: number): Promise<void> {
  const now = await count(host, id);
  if (now < before) throw new Error(`the counter stands at ${now} and was at ${before} before`);
  await until('it counts on', 10, async () => (await count(host, id)) > now);
}
