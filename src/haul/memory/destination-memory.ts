/** The memory of a container that comes: its images, and, where it runs before they are whole, its pages from the source. */
import { writeFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../base/errors.js';
import { freezerSwitch } from '../../container/checkpoint/freezer.js';
import type { CheckpointPaths } from '../../container/checkpoint/images.js';
import { pageDaemonExit, wasLazy, type PageSource } from '../../container/checkpoint/page-daemon.js';
import { cgroupsPath, type HostParts } from '../../container/parts.js';
import type { HaulChannel } from '../wire/channel.js';
import { relayPages } from './relay.js';

/** The kernel stops the processes by itself; this is only its head start. */
const headStartMs = 20;

/** Where the pages of one container come from. */
export class RemotePages {
  #relay: Promise<void> | undefined;

  constructor(private readonly parts: HostParts, private readonly instance: string, private readonly channel: HaulChannel) {}

  /** For the restore. */
  readonly source: PageSource = (daemon) => {
    this.#relay = this.#carry(daemon);
  };

  /** When nothing more comes: all pages are there, or the container is being ended. Never throws. */
  async settled(): Promise<void> {
    await this.#relay;
  }

  async #carry(daemon: Duplex): Promise<void> {
    const { parts, instance, channel } = this;
    try {
      await relayPages(channel, 'destination', daemon);
    } catch (error) {
      if (!daemon.destroyed && !daemon.readableEnded) {
        parts.log.error({ err: error, instance }, `the source of the memory of ${instance} is lost: ${messageOf(error)}`);
        await this.#stop();
      }
    } finally {
      daemon.destroy();
    }
  }

  /** Before the page daemon hears of it, so that not one instruction runs on empty pages. */
  async #stop(): Promise<void> {
    const { file, frozen } = freezerSwitch(this.parts.cgroups, cgroupsPath(this.parts, this.instance));
    await writeFile(file, frozen).catch(() => undefined); // it has ended, or never ran
    await sleep(headStartMs);
  }
}

/** True if memory was to come from elsewhere and did not, as far as this life of the service can know: it must not run. */
export async function lacksPages(paths: CheckpointPaths): Promise<boolean> {
  return (await wasLazy(paths)) && (await pageDaemonExit(paths)) !== 0;
}
