/** The kernel's name of a guest. Nova allows 255 characters with dots (API 2.94), the kernel 64 bytes. */

const kernelBytes = 64; // __NEW_UTS_LEN, include/uapi/linux/utsname.h

/** What the guest's kernel calls itself: the whole name where it fits, else its first label, as cloud-init sets it; the whole stays in `/etc/hosts`. */
export function kernelHostName(hostname: string): string {
  if (Buffer.byteLength(hostname) <= kernelBytes) return hostname;
  return Buffer.from(hostname.split('.')[0] ?? '').subarray(0, kernelBytes - 1).toString('latin1').replace(/-+$/, '');
}
