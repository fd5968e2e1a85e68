import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import {
  contentOf,
  loadRAM,
  PAGE,
  saveFull,
  saveIncremental,
  testPage,
  testRAM,
} from '../../../test/snapshot-fixture.ts';
import { memoryNumber } from '../../../test/snapshot-writer-process.ts';
import { digestOf } from '../../snapshot/digest.ts';
import { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import { verifySnapshot } from '../../snapshot/verify.ts';
import { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import type { StoreStep } from './store-files.ts';

const folders: string[] = [];

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'quire-store-'));
  folders.push(path);
  return join(path, 'store');
}

afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true });
});

async function contentAt(path: string, tag: string): Promise<Record<string, string>> {
  const store = await DirectoryStore.open(path, { create: false });
  return contentOf(await loadRAM(await SnapshotReader.open(store, NODE_PLATFORM, tag)));
}

const RAM_A = testRAM({ ram: [1, 2, 0, 3], rom: [4] });
const RAM_B = testRAM({ ram: [1, 9, 7, 3], rom: [4] });

test('a store is an OCI image layout from its making on', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  expect(readdirSync(path).sort()).toEqual(['.quire', 'blobs', 'index.json', 'oci-layout']);
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  expect(await contentAt(path, 'a')).toEqual(contentOf(RAM_A));
  expect(readdirSync(join(path, '.quire', 'staging'))).toEqual([]);
  expect(readdirSync(join(path, '.quire', 'writers'))).toEqual([]);
});

test('a folder with other things in it, or none, is refused', async () => {
  const path = folder();
  await expect(DirectoryStore.open(path, { create: false })).rejects.toThrow('it is not there');
  mkdirSync(path);
  writeFileSync(join(path, 'thesis.txt'), 'all my work');
  await expect(DirectoryStore.open(path)).rejects.toMatchObject({ code: 'NOT_A_SNAPSHOT' });
  expect(readdirSync(path)).toEqual(['thesis.txt']);
});

// Goal: a disk that lost a bit must not spoil what is saved after.
test('a damaged blob of the right size is mended by a save that brings its bytes', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  const { pages, state } = (await SnapshotReader.open(store, NODE_PLATFORM, 'a')).manifest;
  for (const { digest } of [...pages, state]) {
    const file = join(path, 'blobs', 'sha256', digest.slice(7));
    const bytes = readFileSync(file);
    bytes[9] = bytes[9]! ^ 0x10;
    writeFileSync(file, bytes);
  }
  const other = await DirectoryStore.open(path);
  expect(await other.isWhole(pages[0]!)).toBe(false);
  await expect(contentAt(path, 'a')).rejects.toMatchObject({ code: 'CORRUPT' });
  await saveFull(other, NODE_PLATFORM, 'b', RAM_A);
  for (const tag of ['a', 'b']) expect(await contentAt(path, tag)).toEqual(contentOf(RAM_A));
});

test('a newer layout, and a lost index, are refused by name', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  rmSync(join(path, 'index.json'));
  await expect(store.list()).rejects.toThrow(/index.json" as it must be there/);
  await expect(store.gc()).rejects.toMatchObject({ code: 'CORRUPT' }); // And removes nothing.
  writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}');
  await expect(DirectoryStore.open(path)).rejects.toMatchObject({ code: 'NEWER_VERSION' });
});

test('a blob that is not what its digest says is not kept', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  const bytes = testPage(1);
  const digest = await digestOf(NODE_PLATFORM, bytes);
  const writer = await store.openWriter();
  async function* pieces(...list: Uint8Array[]): AsyncGenerator<Uint8Array> {
    yield* list;
  }
  const put = (content: Uint8Array | AsyncIterable<Uint8Array>) =>
    writer.putBlob({ digest, size: PAGE }, content);
  await expect(put(testPage(2))).rejects.toThrow(/must have that digest/);
  await expect(put(pieces(bytes, bytes))).rejects.toThrow(/must have 4096 bytes: more come/);
  await expect(put(pieces(bytes.subarray(1)))).rejects.toThrow(/4095 came/);
  expect(readdirSync(join(path, 'blobs', 'sha256'))).toEqual([]);
  await put(pieces(bytes.subarray(0, 9), bytes.subarray(9)));
  expect(await store.getBlob({ digest, size: PAGE })).toEqual(bytes);
  await writer.close();
});

// A loss of power keeps what was synced and nothing else.
test('each file is synced before it gets its name, and the blobs before the index', async () => {
  const path = folder();
  const steps: { step: StoreStep; path: string }[] = [];
  const store = await DirectoryStore.open(path, {
    onStep: (step, at) => steps.push({ step, path: at }),
  });
  steps.length = 0;
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  const nameOf = ({ step, path: at }: { step: StoreStep; path: string }) =>
    step === 'rename' ? `rename ${at.includes('blobs') ? 'blob' : basename(at)}` : step;
  const renames = steps.map(nameOf).filter((name) => name.startsWith('rename'));
  expect(renames).toEqual([...new Array(6).fill('rename blob'), 'rename index.json']);
  expect(steps.filter(({ step }) => step === 'sync')).toHaveLength(7);
  for (const [i, { step }] of steps.entries()) {
    if (step !== 'rename') continue;
    const before = steps.slice(0, i);
    const countOf = (kind: StoreStep) => before.filter((one) => one.step === kind).length;
    expect(countOf('sync')).toBeGreaterThan(countOf('rename'));
  }
  const end = steps.slice(-5).map(nameOf);
  expect(end).toEqual(['write', 'sync', 'rename index.json', 'sync-folder', 'remove']);
  expect(steps.slice(-7, -6)).toEqual([
    { step: 'sync-folder', path: join(path, 'blobs', 'sha256') },
  ]);
});

// Failure 10: a save that fails midway, for a full disk say.
test('a full disk at any step leaves what was there, and the next save succeeds', async () => {
  const path = folder();
  await saveFull(await DirectoryStore.open(path), NODE_PLATFORM, 'a', RAM_A);
  for (let failAt = 0; ; failAt++) {
    let count = 0;
    await (await DirectoryStore.open(path)).gc(); // Nothing that the last try wrote helps this one.
    const store = await DirectoryStore.open(path, {
      onStep: (step) => {
        if (step !== 'remove' && count++ === failAt)
          throw Object.assign(new Error('write failed'), { code: 'ENOSPC' });
      },
    });
    let error: { code?: string; message?: string } | undefined;
    await saveFull(store, NODE_PLATFORM, 'a', RAM_B).catch((cause) => {
      error = cause;
    });
    const content = await contentAt(path, 'a');
    if (error === undefined) {
      expect(content).toEqual(contentOf(RAM_B));
      expect(failAt).toBeGreaterThan(15); // Or no step was failed at all.
      break;
    }
    expect(error).toMatchObject({ code: 'IO' });
    expect(error.message).toMatch(/no space is left/);
    // The folder of the index is synced last: by then the tag has moved.
    expect([contentOf(RAM_A), contentOf(RAM_B)]).toContainEqual(content);
    expect(readdirSync(join(path, '.quire', 'staging'))).toEqual([]);
  }
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'b', RAM_A);
  await store.gc();
  expect(await contentAt(path, 'b')).toEqual(contentOf(RAM_A));
});

test('a disk that is really full is reported, what was there can be loaded', async (context) => {
  const mount = join(folder(), '..', 'small');
  mkdirSync(mount);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
  if (mounted.status !== 0) return context.skip('a file system in memory cannot be mounted here');
  try {
    const path = join(mount, 'store');
    const store = await DirectoryStore.open(path);
    await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
    const large = testRAM({ ram: Array.from({ length: 600 }, (_, i) => i + 1) });
    await expect(saveFull(store, NODE_PLATFORM, 'big', large)).rejects.toThrow(/no space is left/);
    expect(await contentAt(path, 'a')).toEqual(contentOf(RAM_A));
    await store.gc();
    await saveFull(store, NODE_PLATFORM, 'b', RAM_B);
    expect(await contentAt(path, 'b')).toEqual(contentOf(RAM_B));
  } finally {
    spawnSync('umount', [mount]);
  }
});

test('two writers at once both succeed, and one tag is one of them', async () => {
  const path = folder();
  const stores = await Promise.all([DirectoryStore.open(path), DirectoryStore.open(path)]);
  const saves = stores.flatMap((store, who) =>
    [0, 1, 2, 3].map(async (i) => {
      await saveFull(store, NODE_PLATFORM, `own-${who}-${i}`, testRAM({ ram: [who + 1, i] }));
      await saveFull(store, NODE_PLATFORM, 'both', who === 0 ? RAM_A : RAM_B);
    }),
  );
  await Promise.all(saves);
  const tags = (await stores[0]!.list()).map(({ tag }) => tag);
  expect(tags).toHaveLength(9);
  for (const tag of tags) await verifySnapshot(stores[1]!, NODE_PLATFORM, tag);
  expect([contentOf(RAM_A), contentOf(RAM_B)]).toContainEqual(await contentAt(path, 'both'));
});

test('gc is refused while a writer is open, in this process or another', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  const other = await DirectoryStore.open(path);
  const writer = await store.openWriter();
  await expect(other.gc()).rejects.toMatchObject({ code: 'BUSY' });
  await writer.close();
  await writer.close();
  await other.gc();
});

test('a manifest whose blob is not there gets no tag', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  const manifest = await store.getBlob(await store.resolve('a'));
  const { pages } = (await SnapshotReader.open(store, NODE_PLATFORM, 'a')).manifest;
  rmSync(join(path, 'blobs', 'sha256', pages[0]!.digest.slice(7)));
  const writer = await store.openWriter();
  await expect(writer.putManifest('b', manifest)).rejects.toMatchObject({
    code: 'MISSING_BLOB',
    subject: pages[0]!.digest,
  });
  await writer.close();
  expect((await store.list()).map(({ tag }) => tag)).toEqual(['a']);
});

// A damaged manifest hides what it needs, so nothing may go.
test('gc removes nothing while a manifest cannot be read', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  await saveFull(store, NODE_PLATFORM, 'b', RAM_B);
  const { digest } = await store.resolve('a');
  writeFileSync(join(path, 'blobs', 'sha256', digest.slice(7)), 'garbage');
  const before = readdirSync(join(path, 'blobs', 'sha256')).length;
  await expect(store.gc()).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(readdirSync(join(path, 'blobs', 'sha256'))).toHaveLength(before);
  await store.deleteTag('a');
  expect((await store.gc()).removedCount).toBeGreaterThan(0);
  expect(await contentAt(path, 'b')).toEqual(contentOf(RAM_B));
});

const PROCESS = fileURLToPath(new URL('../../../test/snapshot-writer-process.ts', import.meta.url));

/** Runs the process that saves for ever; kills it `delayMs` after its first save. */
async function killedWriter(path: string, tag: string, first: number, delayMs: number) {
  const child = spawn(process.execPath, ['--import', 'tsx', PROCESS, path, tag, String(first)]);
  let printed = '';
  let errors = '';
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const exit = once(child, 'exit');
  const hasSaved = new Promise<void>((resolve) => {
    child.stdout.on('data', (data) => {
      printed += data;
      resolve();
    });
  });
  await Promise.race([hasSaved, exit]);
  setTimeout(() => child.kill('SIGKILL'), delayMs);
  await exit;
  expect(errors).toBe('');
  const lines = printed.split('\n');
  return Number(lines.at(-2) ?? Number.NaN);
}

// Failure 25: incomplete files. One writer is killed at a random moment while another saves too.
test('a writer killed at any moment leaves every tag loadable', async () => {
  const path = folder();
  const { numRuns } = fuzzOptions(4);
  let first = 1;
  for (let round = 0; round < numRuns; round++) {
    const delays = [Math.random() * 120, Math.random() * 120];
    const last = await Promise.all([
      killedWriter(path, 'live', first, delays[0]!),
      killedWriter(path, 'other', first, delays[1]!),
    ]);
    for (const [i, tag] of ['live', 'other'].entries()) {
      const found = await contentAt(path, tag);
      // What was printed was committed; one more may have been, and not been printed.
      const possible = [last[i]!, last[i]! + 1].map((n) => contentOf(memoryNumber(n)));
      expect(possible).toContainEqual(found);
    }
    const store = await DirectoryStore.open(path);
    await store.gc();
    expect(readdirSync(join(path, '.quire', 'staging'))).toEqual([]);
    expect(existsSync(join(path, '.quire', 'lock'))).toBe(false);
    for (const tag of ['live', 'other']) await verifySnapshot(store, NODE_PLATFORM, tag);
    first = Math.max(...last) + 2;
  }
}, 120_000);

test('gc beside saving removes nothing that a tag reaches', async () => {
  const op = fc.oneof(
    fc.record({
      kind: fc.constant('save' as const),
      tag: fc.nat({ max: 2 }),
      n: fc.nat({ max: 9 }),
    }),
    fc.record({ kind: fc.constant('rm' as const), tag: fc.nat({ max: 2 }) }),
    fc.record({ kind: fc.constant('gc' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(op, { maxLength: 14 }), async (ops) => {
      const path = folder();
      const stores = [await DirectoryStore.open(path), await DirectoryStore.open(path)];
      const ignore = (codes: readonly string[]) => (error: { code?: string }) => {
        if (!codes.includes(error.code ?? '')) throw error;
      };
      await Promise.all(
        ops.map(async (one, i) => {
          const store = stores[i % 2]!;
          if (one.kind === 'gc') await store.gc().catch(ignore(['BUSY']));
          else if (one.kind === 'rm')
            await store.deleteTag(`t${one.tag}`).catch(ignore(['UNKNOWN_TAG']));
          else await saveFull(store, NODE_PLATFORM, `t${one.tag}`, memoryNumber(one.n));
        }),
      );
      for (const { tag } of await stores[0]!.list())
        await verifySnapshot(stores[0]!, NODE_PLATFORM, tag);
      rmSync(path, { recursive: true });
    }),
    fuzzOptions(6),
  );
});

test('an incremental snapshot in a folder needs its own blobs and its parent’s only', async () => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'a', RAM_A);
  const parent = await SnapshotReader.open(store, NODE_PLATFORM, 'a');
  const dirty = [1, 2].map((page) => ({ id: 'ram', page }));
  await saveIncremental(store, NODE_PLATFORM, 'b', RAM_B, parent, dirty);
  await store.deleteTag('a');
  await store.gc();
  expect(await contentAt(path, 'b')).toEqual(contentOf(RAM_B));
});
