/** `haulier haul check ID HOST`: what would stop a haul of this container to that host, without one. Only looks, at both hosts. */
import { stat } from 'node:fs/promises';
import { findContainer, lookParts, size, type LookParts } from './containers.js';
import type { Print } from './commands.js';
import type { HaulRequest } from './haul-request.js';
import { haulSettings } from './wiring.js';
import type { LoadedConfig } from '../base/config/load.js';
import { HaulierError, isHaulierError, messageOf } from '../base/errors.js';
import { harmlessLine } from '../base/pretty.js';
import { whyNotMovable } from '../compute/live/movable.js';
import { memoryBytes } from '../container/checkpoint/criu-dump.js';
import { readHostFacts } from '../container/checkpoint/facts.js';
import { freeBytes } from '../container/checkpoint/images.js';
import { rootFsPaths } from '../container/storage/root-fs.js';
import { obstacles, verdictOf } from '../container/verdict/verdict.js';
import { viewContainer } from '../container/view.js';
import type { HaulView } from '../haul/board.js';
import type { Peer } from '../haul/client.js';
import { readCredentials } from '../haul/credentials.js';
import { examineThere, type Examined, type Question } from '../haul/examination.js';
import { memoryAbilities } from '../haul/live/memory.js';
import { chooseMode, type MemoryAbilities } from '../haul/memory/mode.js';
import type { HaulSettings } from '../haul/settings.js';
import { callService } from '../http/control.js';

/** One thing that was looked at. `stops`: no haul will get through; `unknown`: it could not be seen. */
export interface Finding {
  readonly kind: 'ok' | 'note' | 'unknown' | 'stops';
  readonly text: string;
}

/** What this host knows for the judgement of the other one's answer. */
export interface OwnSide {
  readonly settings: Pick<HaulSettings, 'policy'>;
  readonly memory: MemoryAbilities;
  /** Bytes that are in use of its disk and that its memory takes: both hosts write the memory down, unless it comes later. */
  readonly diskBytes: number;
  readonly memoryBytes: number;
}

/** Judges what the other host said of itself. */
export function judgeExamined(there: Examined, question: Pick<Question, 'image' | 'templates'>, own: OwnSide): Finding[] {
  const need = own.diskBytes + own.memoryBytes;
  const plan = chooseMode(own.settings.policy, undefined, own.memory, there.memory, own.memoryBytes);
  return [
    ...there.misfits.map((text): Finding => ({ kind: 'stops', text: `it could not go on at ${there.host}: ${text}` })),
    ...(there.misfits.length === 0 ? [{ kind: 'ok', text: `${there.host} (release ${there.release}): its criu and its CPU take what was made here` } as const] : []),
    ...(there.present ? [{ kind: 'stops', text: `something of the server is on ${there.host} already` } as const] : []),
    ...there.lackingTemplates.map((id): Finding => ({ kind: 'note', text: `the template ${id} is not there: it goes along, once` })),
    there.image ? { kind: 'ok', text: `the image is there` } : { kind: 'note', text: `the image ${question.image} is not there: it goes along, once` },
    there.freeBytes < need ? { kind: 'stops', text: `${there.host} has ${size(there.freeBytes)} free, and the container's disk and memory take ${size(need)}` } : { kind: 'ok', text: `${size(there.freeBytes)} free there, for ${size(need)}` },
    { kind: 'note', text: `its memory would go by ${plan.mode} (${plan.reason})` },
  ];
}

/** Prints all that it finds. @returns 0 if nothing stops it, else 1 */
export async function haulCheck(loaded: LoadedConfig, request: Extract<HaulRequest, { verb: 'check' }>, print: Print): Promise<number> {
  const parts = await lookParts(loaded);
  const settings = haulSettings(loaded.config);
  const id = await findContainer(parts.store, request.id);
  const findings = await look(parts, settings, loaded.config.haulier.haul_permit_restart, id, request);
  for (const { kind, text } of findings) print(`${{ ok: 'ok     ', note: 'note   ', unknown: 'unknown', stops: 'STOPS  ' }[kind]} ${harmlessLine(text)}`);
  const stops = findings.filter(({ kind }) => kind === 'stops').length;
  print(stops > 0 ? `${stops === 1 ? 'one thing stops' : `${stops} things stop`} a haul of ${id} to ${request.host}` : `nothing that can be seen from here stops a haul of ${id} to ${request.host}; Nova's own checks (scheduler, group, ports) come beside`);
  return stops > 0 ? 1 : 0;
}

async function look(parts: LookParts, settings: HaulSettings, permitRestart: boolean, id: string, { host, address, port }: Extract<HaulRequest, { verb: 'check' }>): Promise<Finding[]> {
  const found: Finding[] = [];
  const note = (kind: Finding['kind'], text: string): void => void found.push({ kind, text });
  const [view, spec, verdict] = [await viewContainer(parts, id), await parts.store.readSpec(id), await verdictOf(parts, id)];
  const reasons = whyNotMovable(settings.host, view, spec, verdict, permitRestart);
  for (const reason of reasons) note('stops', reason);
  const why = reasons.length === 0 && verdict ? obstacles(verdict) : [];
  if (why.length > 0) note('note', `it cannot be frozen, and would be shut down here and booted there (haul_permit_restart): ${why.join('; ')}`);
  else if (reasons.length === 0) note('ok', `${id} is ${view.state} and can be frozen`);
  for (const { text } of verdict?.findings.filter(({ passing, effect }) => passing && effect !== 'loses') ?? []) note('note', `for now, but it may pass: ${text}`);
  if (host === settings.host) note('stops', `${host} is this host`);
  const own = { settings, memory: await memoryAbilities(parts, settings.policy), diskBytes: await diskUsed(parts, id), memoryBytes: await memoryBytes(parts, id) };
  const { folder } = parts.store.paths(id);
  const free = await freeBytes(folder);
  if (free < own.memoryBytes) note('stops', `${size(free)} are free here, and its memory takes ${size(own.memoryBytes)}`);
  try {
    await readCredentials(settings);
    note('ok', 'this host has certificates');
  } catch (error) {
    note('stops', messageOf(error));
    note('unknown', `what is at ${host}: it answers to certificates only`);
    return found;
  }
  if (!spec || host === settings.host) return found;
  const facts = await readHostFacts(parts.options).catch((error: unknown) => note('stops', messageOf(error)));
  if (!facts) return found;
  const peer: Peer = { host, ...(await whereIs(parts.options.runPath, host, { address, port: port ?? settings.port })) };
  const question: Question = { instance: id, facts, image: spec.imageId, templates: spec.templates ?? [] };
  try {
    const there = await examineThere(settings, peer, question);
    note('ok', `${host} answers at ${peer.address}:${peer.port}, with its certificate`);
    found.push(...judgeExamined(there, question, own));
  } catch (error) {
    if (!(error instanceof HaulierError)) throw error;
    // the same major version, only too old to be asked: hauls work
    if (isHaulierError(error, 'HAUL_VERSION') && String(error.details['theirs']).startsWith('1.')) note('unknown', `${host} answers at ${peer.address}:${peer.port}, but its release is too old to be asked more`);
    else note('stops', `${messageOf(error)}. ${error.advice}`);
  }
  return found;
}

/** Where that host listens: as the caller says, else as hauls to it knew, else by its name. */
async function whereIs(runPath: string, host: string, said: { readonly address: string | undefined; readonly port: number }): Promise<Pick<Peer, 'address' | 'port'>> {
  if (said.address !== undefined) return { address: said.address, port: said.port };
  const hauls = (await callService(runPath, 'hauls', {}).catch(() => [])) as readonly HaulView[];
  const known = hauls.findLast(({ peer }) => peer === host);
  return known ? { address: known.address, port: known.port } : { address: host, port: said.port };
}

/** Of a sparse file. */
async function diskUsed(parts: LookParts, id: string): Promise<number> {
  const blockBytes = 512;
  return ((await stat(rootFsPaths(parts.store.paths(id).folder).disk).catch(() => undefined))?.blocks ?? 0) * blockBytes;
}
