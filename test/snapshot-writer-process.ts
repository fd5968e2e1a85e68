// A process that saves for ever, for the test that kills it: `live` is memory number n, and n is
// printed once it is committed. With "gc" it collects garbage now and then, too.

import { DirectoryStore } from '../src/cli/snapshot/directory-store.ts';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import { SnapshotReader } from '../src/snapshot/snapshot-reader.ts';
import { saveFull, saveIncremental, testPage, testRAM } from './snapshot-fixture.ts';

/** Memory number `n`: what the killed process had in `live`. */
export function memoryNumber(n: number) {
  return testRAM({ ram: [n, n + 1, 0, n + 2], rom: [5] });
}

async function main(path: string, tag: string, first: number): Promise<void> {
  const store = await DirectoryStore.open(path);
  for (let n = first; ; n++) {
    const ram = memoryNumber(n);
    if (n % 2 === 0 || n === first) await saveFull(store, NODE_PLATFORM, tag, ram);
    else {
      const parent = await SnapshotReader.open(store, NODE_PLATFORM, tag);
      ram.get('rom')!.set(testPage(5), 0);
      const dirty = [0, 1, 3].map((page) => ({ id: 'ram', page }));
      await saveIncremental(store, NODE_PLATFORM, tag, ram, parent, dirty);
    }
    process.stdout.write(`${n}\n`);
    if (n % 3 === 0)
      await store.gc().catch((error: { code?: string }) => {
        if (error.code !== 'BUSY') throw error;
      });
  }
}

const [, script, path, tag, first] = process.argv;
if (script?.endsWith('snapshot-writer-process.ts') && path !== undefined)
  await main(path, tag!, Number(first));
