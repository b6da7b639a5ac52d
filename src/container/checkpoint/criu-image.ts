/**
 * The two of criu's images that say who a container is, written for another container: its host name, and where its ids lie on the
 * host. criu has no option for either and takes both from the image, whatever config.json says. Messages: criu's images/utsns.proto,
 * images/userns.proto. `old` is the image that is replaced.
 */
import { rangeSize } from '../storage/id-ranges.js';
import { imageOf } from './image-file.js';
import { writeMessage } from './protobuf.js';

/** `utsns-N.img` with another host name. The domain name is the kernel's own for none. */
export function utsImage(old: Buffer, hostname: string): Buffer {
  return imageOf(old, writeMessage([1, hostname], [2, '(none)']));
}

/** `userns-N.img` with the range from `idBase` on the host. */
export function usernsImage(old: Buffer, idBase: number): Buffer {
  const extent = writeMessage([1, 0], [2, idBase], [3, rangeSize]);
  return imageOf(old, writeMessage([1, extent], [2, extent]));
}
