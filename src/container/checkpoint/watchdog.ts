/**
 * Services under a watchdog of the guest's systemd (`WatchdogSec`, sd_watchdog_enabled(3)): one that has not called for so long is killed
 * and started anew. A process that waits for a page cannot call, and the guest's clock goes on: where pages may come late, the watchdog
 * of systemd, which has its own pages already, kills what only waits. A full resume has no such wait.
 */
import { cgroupPids } from '../cgroup.js';
import { textOf } from '../kernel-files.js';
import { cgroupsPath, type HostParts } from '../parts.js';

/**
 * sd-event calls at the latest when three quarters of the time are over: a quarter, 15 s, is left for the pages of that one service.
 * journald and logind have three minutes.
 */
const leastSeconds = 60;

/** The shortest watchdog that a process of the container was started with, seconds; undefined if none was. */
export function shortestWatchdog(parts: Pick<HostParts, 'cgroups' | 'options'>, id: string): number | undefined {
  const found = cgroupPids(parts.cgroups, cgroupsPath(parts, id)).flatMap((pid) => watchdogIn(textOf(`/proc/${pid}/environ`)) ?? []);
  return found.length > 0 ? Math.min(...found) : undefined;
}

/** @param environment text of `/proc/PID/environ` @returns seconds */
export function watchdogIn(environment: string): number | undefined {
  const microseconds = Number(/(?:^|\0)WATCHDOG_USEC=(\d{1,15})(?:\0|$)/.exec(environment)?.[1] ?? 0);
  return microseconds > 0 ? microseconds / 1e6 : undefined;
}

/** Why a container with that watchdog must not run before its memory is there; undefined if it may. */
export function watchdogProblem(seconds: number | undefined): string | undefined {
  return seconds !== undefined && seconds < leastSeconds ? `a service has a watchdog of ${seconds} s, below ${leastSeconds} s: it would be killed if its pages came late` : undefined;
}
