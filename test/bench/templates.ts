/** Space and time of containers from one template: the first and the 100th, beside the same without. Run in a host: `node dist/test/bench/templates.js [COUNT]`. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/base/run.js';
import { rootFsPaths } from '../../src/container/storage/root-fs.js';
import { makeBed, makeSpec, operate, until, type Bed } from '../host/container/harness.js';

const count = Number(process.argv[2] ?? 100);
const mib = 1024 * 1024;

const blocks = async (path: string): Promise<number> => Number((await run('du', ['-s', '-B1', '--', path])).stdout.split('\t')[0]);
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

interface Row { readonly create: number; readonly space: number; readonly id: string }

async function make(bed: Bed, templates: readonly string[]): Promise<Row> {
  const spec = makeSpec(bed.image, { templates });
  const began = performance.now();
  await operate(async (operation) => {
    await bed.host.create(spec, operation);
    await bed.host.mount(spec.id, operation);
  });
  const create = performance.now() - began;
  return { create, space: await blocks(rootFsPaths(join(bed.options.instancesPath, spec.id)).upper), id: spec.id };
}

async function start(bed: Bed, id: string): Promise<number> {
  const began = performance.now();
  await operate((operation) => bed.host.startContainer(id, operation));
  await until('it is up', async () => (await bed.host.consoleLog(id, undefined)).includes('guest is up'));
  return performance.now() - began;
}

const bed = await makeBed();
const folder = await mkdtemp('/var/lib/nova/bench-templates-');
try {
  const tree = join(folder, 'tree');
  for (let part = 0; part < 20; part++) {
    await mkdir(join(tree, `opt/app/${part}`), { recursive: true });
    for (let file = 0; file < 100; file++) await writeFile(join(tree, `opt/app/${part}/${file}`), randomBytes(100_000));
  }
  const packed = join(folder, 'layer.tar.zst');
  await run('tar', ['-C', tree, '--zstd', '-cf', packed, '.'], { timeoutMs: 300_000 });
  const layer = { id: randomUUID(), size: undefined, checksum: { algorithm: 'sha256', value: createHash('sha256').update(await readFile(packed)).digest('hex') }, diskFormat: 'raw', containerFormat: 'bare', layer: true, open: async () => createReadStream(packed) };
  const began = performance.now();
  await operate((operation) => bed.host.ensureImage(layer, operation));
  const unpacked = performance.now() - began;
  process.stdout.write(`layer of 2000 files, ${Math.round(await blocks(tree) / mib)} MiB: unpacked once in ${Math.round(unpacked)} ms\n\n`);
  process.stdout.write('| containers | create and mount, ms: 1st | 100th | median | start to first line, ms (5) | own space, KiB: 1st | 100th |\n|---|---|---|---|---|---|---|\n');
  for (const [name, templates] of [['without', []], ['with the template', [layer.id]]] as const) {
    const rows: Row[] = [];
    for (let index = 0; index < count; index++) rows.push(await make(bed, templates));
    const starts = [];
    for (const { id } of rows.slice(-5)) starts.push(await start(bed, id));
    const [first, last] = [rows[0], rows.at(-1)];
    process.stdout.write(`| ${name} | ${Math.round(first?.create ?? 0)} | ${Math.round(last?.create ?? 0)} | ${Math.round(median(rows.map(({ create }) => create)))} | ${Math.round(median(starts))} | ${Math.round((first?.space ?? 0) / 1024)} | ${Math.round((last?.space ?? 0) / 1024)} |\n`);
    for (const { id } of rows) await operate((operation) => bed.host.destroy(id, operation));
  }
} finally {
  await bed.end();
  await rm(folder, { recursive: true, force: true });
}
process.exit(0);
