/**
 * Asked before a haul, without one: what would a container find at the other host? Between hosts of the deployment, on a connection of
 * its own (`examine`, `examined`; since version 1.1). Nothing is changed at either side.
 */
import { HaulierError } from '../base/errors.js';
import { packageVersion } from '../base/package-root.js';
import { criuProblem, misfits, readHostFacts, type HostFacts } from '../container/checkpoint/facts.js';
import { freeBytes } from '../container/checkpoint/images.js';
import type { HostParts } from '../container/parts.js';
import { openExamination, type Peer } from './client.js';
import { memoryAbilities } from './live/memory.js';
import { readAbilities, type MemoryAbilities } from './memory/mode.js';
import type { HaulSettings } from './settings.js';

/** What is asked. */
export interface Question {
  readonly instance: string;
  /** The asking host's. */
  readonly facts: HostFacts;
  /** Ids of the image and the templates. */
  readonly image: string;
  readonly templates: readonly string[];
}

/** What the other host says of itself. */
export interface Examined {
  readonly host: string;
  readonly release: string;
  /** Why processes of the asking host could not go on there; empty if they can. */
  readonly misfits: readonly string[];
  readonly memory: MemoryAbilities;
  /** The image is in its cache. */
  readonly image: boolean;
  /** Those that it has not. */
  readonly lackingTemplates: readonly string[];
  readonly freeBytes: number;
  /** Something of the instance is there already. */
  readonly present: boolean;
}

/** Reads the question. @throws HAUL_PROTOCOL */
export function readQuestion(value: unknown): Question {
  const question = value as Partial<Question> | undefined;
  const facts = question?.facts as Partial<HostFacts> | undefined;
  const texts = (list: unknown): boolean => Array.isArray(list) && list.every((item) => typeof item === 'string');
  const good = typeof question?.instance === 'string' && /^[0-9a-f-]{36}$/.test(question.instance) && typeof question.image === 'string' && texts(question.templates)
    && typeof facts === 'object' && facts !== null && typeof facts.criu === 'string' && typeof facts.architecture === 'string' && texts(facts.cpuFlags);
  if (!good) throw new HaulierError('HAUL_PROTOCOL', { reason: 'a question that is none' });
  return value as Question;
}

/** Answers for this host. @throws COMMAND_FAILED without criu or runc */
export async function examineHere(parts: Pick<HostParts, 'options' | 'store' | 'storage'>, settings: HaulSettings, question: Question): Promise<Examined> {
  const problem = await criuProblem(parts.options);
  const [images, present, memory, free] = await Promise.all([parts.storage.images(), presentHere(parts, question.instance), memoryAbilities(parts, settings.policy), freeBytes(parts.options.instancesPath)]);
  return {
    host: settings.host, release: packageVersion,
    misfits: problem === undefined ? misfits(question.facts, await readHostFacts(parts.options)) : [problem],
    memory, image: images.includes(question.image), lackingTemplates: question.templates.filter((id) => !images.includes(id)), freeBytes: free, present,
  };
}

/** Another host's container in a folder that both see is none of this host's. */
async function presentHere({ store }: Pick<HostParts, 'store'>, id: string): Promise<boolean> {
  return (await store.exists(id)) && !(await store.isForeign(id));
}

/** Asks the peer. @throws HAUL_OFF, HAUL_UNREACHABLE, HAUL_VERSION (also where it is too old to be asked), HAUL_REFUSED, HAUL_LOST */
export async function examineThere(settings: HaulSettings, peer: Peer, question: Question, signal?: AbortSignal): Promise<Examined> {
  const channel = await openExamination(settings, peer, { ...question }, signal);
  try {
    const { examined } = await channel.receive(['examined'], signal);
    await channel.close();
    return readExamined(examined);
  } catch (error) {
    throw channel.abort(error as Error);
  }
}

/** Text of another host for this one's terminal: no more than it needs. */
const short = (value: unknown): string => String(value).slice(0, 500);
const list = (value: unknown): string[] => (Array.isArray(value) ? value.slice(0, 100).map(short) : []);

function readExamined(value: unknown): Examined {
  const said = value as Partial<Record<keyof Examined, unknown>> | undefined;
  if (typeof said !== 'object' || said === null || typeof said.host !== 'string' || !Array.isArray(said.misfits) || typeof said.freeBytes !== 'number') throw new HaulierError('HAUL_PROTOCOL', { reason: 'an answer that is none' });
  return {
    host: short(said.host), release: short(said.release), misfits: list(said.misfits), memory: readAbilities(said.memory),
    image: said.image === true, lackingTemplates: list(said.lackingTemplates), freeBytes: said.freeBytes, present: said.present === true,
  };
}
