/** The busybox system of the other tests with python3 (and node, if wanted) of the host in it: workloads for the verdict. */
import { copyFile, cp, mkdir, mkdtemp, readdir, realpath, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from '../../../src/base/run.js';
import type { ImageSource } from '../../../src/container/spec.js';
import { busyboxImage, imageOf } from './harness.js';

/** Copies a program and the libraries that `ldd` names. */
async function addProgram(tree: string, path: string): Promise<void> {
  const { stdout } = await run('ldd', [path]);
  const libraries = [...stdout.matchAll(/(\/\S+)(?= \(0x)/g)].map((match) => match[1] as string);
  for (const file of [path, ...libraries]) {
    const target = join(tree, file);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(await realpath(file), target);
  }
}

/** The busybox system, unpacked in a folder of its own. */
async function busyboxTree(): Promise<{ readonly folder: string; readonly tree: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'tools-'));
  const tree = join(folder, 'tree');
  await mkdir(tree);
  const base = await busyboxImage();
  await writeFile(join(folder, 'base.tar'), await base.open(AbortSignal.timeout(60_000)) as unknown as AsyncIterable<Buffer>);
  await run('tar', ['-C', tree, '-xf', join(folder, 'base.tar')]);
  return { folder, tree };
}

/** A tree with python3 and no more of its library than these modules load: small enough for a slow machine. */
export async function pythonTree(modules: readonly string[]): Promise<string> {
  const { tree } = await busyboxTree();
  await addProgram(tree, '/usr/bin/python3');
  const script = `import sys, ${modules.join(', ')}\nfor module in list(sys.modules.values()):\n  for path in getattr(module, '__file__', None), getattr(module, '__cached__', None):\n    if path: print(path)`;
  const { stdout } = await run('python3', ['-c', script]);
  for (const path of new Set(stdout.split('\n').filter((line) => line.startsWith('/') && existsSync(line)))) {
    if (path.endsWith('.so')) await addProgram(tree, path);
    else await cp(path, join(tree, path), { preserveTimestamps: true }); // what is compiled says of what time's source
  }
  return tree;
}

/** @param withNode adds node: 120 MB */
export async function toolsImage(withNode: boolean): Promise<ImageSource> {
  const { folder, tree } = await busyboxTree();
  await addProgram(tree, '/usr/bin/python3');
  for (const name of await readdir('/usr/lib')) if (/^python3\.\d+$/.test(name) && existsSync(`/usr/lib/${name}/os.py`)) await cp(`/usr/lib/${name}`, join(tree, 'usr/lib', name), { recursive: true });
  await run('sh', ['-c', 'ldd /usr/lib/python3.*/lib-dynload/*.so | sed -n "s/.*=> \\(\\/[^ ]*\\) (.*/\\1/p" | sort -u | while read -r file; do mkdir -p "$0$(dirname "$file")"; cp -L "$file" "$0$file"; done', tree]);
  if (withNode) {
    await addProgram(tree, '/usr/bin/node');
    // Debian's node loads some of its own parts from files
    for (const name of ['undici', 'cjs-module-lexer', 'acorn', 'acorn-walk', 'amaro', 'minimatch']) {
      if (existsSync(`/usr/share/nodejs/${name}`)) await cp(`/usr/share/nodejs/${name}`, join(tree, 'usr/share/nodejs', name), { recursive: true, dereference: true });
    }
  }
  return await imageOf(tree, join(folder, 'image.tar'));
}
