/** Downloads an image and is killed while at it; see interrupted.test.ts. Arguments: instances path, image file, `halt` or `go`. */
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { chunks, bench, operation, source } from './helper.js';

const [, , dir = '', file = '', mode] = process.argv;
const bytes = readFileSync(file);
async function* slowly(): AsyncGenerator<Buffer> {
  let sent = 0;
  for (const chunk of chunks(bytes)) {
    if (mode === 'halt' && (sent += chunk.length) > bytes.length / 2) {
      process.stdout.write('half\n');
      await new Promise((resolve) => { setTimeout(resolve, 60_000); });
    }
    yield chunk;
  }
}
const { images } = await bench({ dir });
await images.ensure(source('img', bytes, { open: () => Promise.resolve(Readable.from(slowly())) }), operation());
