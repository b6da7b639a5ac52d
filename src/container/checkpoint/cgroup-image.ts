/**
 * Makes criu leave a container frozen at the end of its restore: not one instruction of it runs until somebody thaws it.
 *
 * criu notes the properties of every control group, and `full` as its way of managing them restores them all (`soft` none where the
 * group is there already); the freezer's state comes last of all, when the processes stand ready to go on. All others are taken out:
 * they are the other host's, and the runtime has set those of this one. Only the freezer of cgroup v1 can do it: criu restores
 * `cgroup.freeze` with all the rest, before it makes the processes.
 */
import type { CgroupLayout } from '../cgroup.js';
import { changeImage } from './image-file.js';
import { Message, rewritten, writeMessage } from './protobuf.js';

/** cgroup.proto: fields of cgroup_entry, cg_controller_entry, cgroup_dir_entry. */
const controllers = 2;
const names = 1;
const folders = 2;
const children = 2;
const properties = 3;

const frozen = writeMessage([1, 'freezer.state'], [2, 'FROZEN']);

/** True if a restore on this host can end frozen. */
export function canStayFrozen(layout: CgroupLayout): boolean {
  return layout.v1.has('freezer');
}

/** The way of managing control groups that goes with it. */
export const stayFrozenOption = '--manage-cgroups-mode=full';

/** Changes the images of a dump; idempotent. @throws Error if they cannot be understood */
export async function stayFrozen(images: string): Promise<void> {
  await changeImage(images, 'cgroup', frozenCgroups);
}

/** `cgroup_entry` without properties but for the freezer's state of the container's own group. */
export function frozenCgroups(entry: Buffer): Buffer {
  return rewritten(entry, controllers, (controller) => {
    const freezer = new Message(controller).text(names) === 'freezer';
    return rewritten(controller, folders, (folder) => (freezer ? Buffer.concat([bare(folder), writeMessage([properties, frozen])]) : bare(folder)));
  });
}

function bare(folder: Buffer): Buffer {
  return rewritten(rewritten(folder, properties, () => undefined), children, bare);
}
