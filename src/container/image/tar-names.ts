/** Reads names and pax records of an archive that our own tar wrote with `--format=posix`, as it comes. Contents are skipped. */

/** One entry. latin1, one character a byte. */
export interface NamedEntry {
  readonly name: string;
  readonly records: ReadonlyMap<string, string>;
}

const blockBytes = 512;

/** See above. */
export class TarNames {
  #rest = Buffer.alloc(0);
  #skip = 0;
  #records: ReadonlyMap<string, string> = new Map();

  /** @returns the entries that are whole by now */
  add(chunk: Buffer): NamedEntry[] {
    const found: NamedEntry[] = [];
    let bytes = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length);
      this.#skip -= skipped;
      bytes = bytes.subarray(skipped);
      if (bytes.length < blockBytes || this.#skip > 0) break;
      const header = bytes.subarray(0, blockBytes);
      const text = (from: number, length: number): string => header.toString('latin1', from, from + length).split('\0')[0] ?? '';
      const size = parseInt(text(124, 12), 8) || 0;
      const padded = Math.ceil(size / blockBytes) * blockBytes;
      if (text(156, 1) === 'x') {
        if (bytes.length < blockBytes + padded) break;
        this.#records = recordsIn(bytes.subarray(blockBytes, blockBytes + size).toString('latin1'));
        bytes = bytes.subarray(blockBytes + padded);
        continue;
      }
      const prefix = text(345, 155);
      const name = this.#records.get('path') ?? (prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`);
      if (name !== '') found.push({ name, records: this.#records }); // zeros end it
      this.#records = new Map();
      this.#skip = blockBytes + padded;
    }
    this.#rest = bytes;
    return found;
  }
}

/** `LENGTH KEY=VALUE\n` one after the other. */
function recordsIn(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < text.length;) {
    const length = parseInt(text.slice(at, at + 20), 10);
    if (!(length > 0)) break;
    const record = text.slice(text.indexOf(' ', at) + 1, at + length - 1);
    const sign = record.indexOf('=');
    found.set(record.slice(0, sign), record.slice(sign + 1));
    at += length;
  }
  return found;
}
