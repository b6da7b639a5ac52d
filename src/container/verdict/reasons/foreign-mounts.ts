/** Mounts. */
import { figureFiles, lxcfsType } from '../../figures/lxcfs.js';
import type { Reason } from '../reason.js';

/** File systems that criu mounts again (its filesystems.c), the container's root among them. */
const known = new Set([
  'overlay', 'proc', 'sysfs', 'tmpfs', 'devpts', 'mqueue', 'cgroup', 'cgroup2', 'devtmpfs', 'binfmt_misc', 'debugfs', 'tracefs', 'pstore', 'securityfs', 'fusectl', 'configfs',
  'bpf', 'ramfs', 'btrfs', 'ext2', 'ext3', 'ext4', 'xfs',
]);

export const foreignMounts: Reason = {
  code: 'foreign-mounts', effect: 'blocks', passing: false,
  about: 'Something is mounted that criu cannot mount again: FUSE, NFS, 9p, hugetlbfs and other file systems whose content is not its own. Not so the files of lxcfs that it was given.',
  find: (guest) => [...new Set([...guest.mounts.values()].flat().filter(({ type, point }) => !known.has(type) && !(type === lxcfsType && figureFiles.includes(point))).map(({ type, point }) => `${point} is a mount of type ${type}, which cannot be made again`))],
};
