/**
 * The two of criu's images that say who a container is, written for another container: its host name, and where its ids lie on the
 * host. criu has no option for either and takes both from the image, whatever config.json says. Messages: criu's images/utsns.proto,
 * images/userns.proto; framing: two 32-bit magics, then messages behind their 32-bit length.
 */
import { rangeSize } from '../storage/id-ranges.js';

const magicBytes = 8;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

const number = (field: number, value: number): Buffer => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field: number, value: Buffer): Buffer => Buffer.concat([varint(field * 8 + 2), varint(value.length), value]);

/** @param old the image that is replaced: its magics stay */
function image(old: Buffer, message: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return Buffer.concat([old.subarray(0, magicBytes), length, message]);
}

/** `utsns-N.img` with another host name. The domain name is the kernel's own for none. */
export function utsImage(old: Buffer, hostname: string): Buffer {
  return image(old, Buffer.concat([bytes(1, Buffer.from(hostname)), bytes(2, Buffer.from('(none)'))]));
}

/** `userns-N.img` with the range from `idBase` on the host. */
export function usernsImage(old: Buffer, idBase: number): Buffer {
  const extent = Buffer.concat([number(1, 0), number(2, idBase), number(3, rangeSize)]);
  return image(old, Buffer.concat([bytes(1, extent), bytes(2, extent)]));
}
