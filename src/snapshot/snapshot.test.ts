import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import {
  blocksOf,
  contentOf,
  loadRAM,
  PAGE,
  saveFull,
  saveIncremental,
  TEST_CONFIG,
  TEST_SECTIONS,
  testPage,
  testRAM,
} from '../../test/snapshot-fixture.ts';
import { loadZstd, NODE_PLATFORM, ZSTD } from '../cli/snapshot/node-platform.ts';
import { compareSnapshots } from './difference.ts';
import { digestOf } from './digest.ts';
import { BLOB_PAGES_MAX } from './limits.ts';
import { decodeManifest, encodeManifest } from './manifest.ts';
import { MemoryStore } from './memory-store.ts';
import { decodePageIndex, encodePageIndex, type PageIndex } from './page-index.ts';
import {
  decodeSections,
  encodeSections,
  type SectionValue,
  type StateSection,
} from './sections.ts';
import { SnapshotBuilder } from './snapshot-builder.ts';
import { SnapshotReader } from './snapshot-reader.ts';
import { verifySnapshot } from './verify.ts';

const PLATFORM = NODE_PLATFORM;

function open(store: MemoryStore, tag: string): Promise<SnapshotReader> {
  return SnapshotReader.open(store, PLATFORM, tag);
}

test('a full snapshot loads as it was, plain and compressed', async () => {
  const ram = testRAM({
    'pc.ram': [1, 0, 0, 2, 3, ...new Array<number>(300).fill(0), 4],
    'vga/vram': [0, 9],
    rom: [0],
  });
  for (const compression of [undefined, ZSTD]) {
    const store = new MemoryStore(PLATFORM);
    const saved = await saveFull(store, PLATFORM, 'a', ram, compression);
    expect(saved.writtenPages).toBe(5);
    const reader = await open(store, 'a');
    expect(contentOf(await loadRAM(reader))).toEqual(contentOf(ram));
    expect(reader.config).toEqual(TEST_CONFIG);
    expect(reader.sections).toEqual(TEST_SECTIONS.map((one) => ({ instance: 0, ...one })));
    expect(reader.placeOf(0, 1)).toBe('zeros');
    expect(reader.placeOf(0, 4)).toEqual({ blobIndex: 0, blobPage: 2 });
    expect(reader.manifest.pages[0]!.compression).toBe(compression?.suffix);
    expect((await verifySnapshot(store, PLATFORM, 'a')).pageCount).toBe(5);
  }
});

test('blobs are numbered by the pages they hold, whichever is hashed first', async () => {
  // Other threads finish in any order: here the first to begin is the last to end.
  let begun = 0;
  const platform = {
    ...PLATFORM,
    sha256: async (bytes: Uint8Array) => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, 60 - 20 * begun++)));
      return PLATFORM.sha256(bytes);
    },
  };
  const ram = testRAM({ 'pc.ram': [1, 0, 2, ...new Array<number>(600).fill(0), 3], rom: [4] });
  const places: unknown[] = [];
  for (const used of [PLATFORM, platform]) {
    const store = new MemoryStore(PLATFORM);
    await saveFull(store, used, 'a', ram);
    const reader = await open(store, 'a');
    places.push([0, 2, 603].map((page) => reader.placeOf(0, page)));
  }
  expect(places[1]).toEqual(places[0]);
});

test('what cannot be compressed is stored as it is', async () => {
  const store = new MemoryStore(PLATFORM);
  const random = new Uint8Array(4 * PAGE).map((_, i) => Math.imul(i + 1, 2654435761) >>> 13);
  let state = 1;
  for (let i = 0; i < random.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    random[i] = state;
  }
  await saveFull(store, PLATFORM, 'a', new Map([['ram', random]]), ZSTD);
  const reader = await open(store, 'a');
  expect(reader.manifest.pages[0]!.compression).toBeUndefined();
  expect(contentOf(await loadRAM(reader))).toEqual(contentOf(new Map([['ram', random]])));
});

test('two saves of the same memory share every blob of pages', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: [1, 2, 3, 0, 5] });
  await saveFull(store, PLATFORM, 'a', ram);
  const count = store.blobs.size;
  const second = await saveFull(store, PLATFORM, 'b', ram);
  expect(store.blobs.size).toBe(count + 1); // The manifest: it has a time and a tag.
  expect(second.writtenBytes).toBe(0);
});

test('windows with the same content are one blob', async () => {
  const store = new MemoryStore(PLATFORM);
  const seeds = new Array<number>(BLOB_PAGES_MAX * 3).fill(7);
  const ram = testRAM({ ram: seeds });
  await saveFull(store, PLATFORM, 'a', ram);
  const reader = await open(store, 'a');
  expect(reader.pageIndex.blobs).toHaveLength(1);
  expect(contentOf(await loadRAM(reader))).toEqual(contentOf(ram));
});

// Failure 14: non-resident is not zero.
test('a page that nobody gave is never written as zeros', async () => {
  const store = new MemoryStore(PLATFORM);
  const blocks = [{ id: 'ram', sizeBytes: 3 * PAGE }];
  const builder = await SnapshotBuilder.open(store, PLATFORM, { blocks });
  await builder.putPage('ram', 0, testPage(1));
  await builder.putPage('ram', 2, testPage(0));
  expect(builder.isGiven('ram', 1)).toBe(false);
  await expect(builder.commit('a', {}, [])).rejects.toThrow(/page 1 of block "ram" was not/);
  expect(await store.list()).toEqual([]);
  const whole = await SnapshotBuilder.open(store, PLATFORM, { blocks });
  await whole.putRange('ram', 0, new Uint8Array(3 * PAGE));
  await whole.commit('a', {}, []);
  expect((await open(store, 'a')).pageIndex.blobs).toEqual([]);
});

// Failures 11 and 12: chains of differences, several blocks, clean tails.
test('any chain loads as the memory was, and its cost stays that of one file', async () => {
  const change = fc.record({
    id: fc.constantFrom('a', 'b', 'c'),
    page: fc.nat({ max: 699 }),
    seed: fc.nat({ max: 5 }),
  });
  const sessions = fc.array(fc.array(change, { maxLength: 60 }), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(sessions, async (saves) => {
      const store = new MemoryStore(PLATFORM);
      const seeds = (count: number) => Array.from({ length: count }, (_, i) => (i % 7) + i);
      const ram = testRAM({ a: seeds(700), b: seeds(3), c: [0, 0, 0] });
      await saveFull(store, PLATFORM, 's0', ram);
      for (const [i, changes] of saves.entries()) {
        const dirty = new Map<string, { id: string; page: number }>();
        for (const { id, page, seed } of changes) {
          const bytes = ram.get(id)!;
          const at = page % (bytes.length / PAGE);
          bytes.set(testPage(seed), at * PAGE);
          dirty.set(`${id}/${at}`, { id, page: at });
        }
        const parent = await open(store, `s${i}`);
        await saveIncremental(store, PLATFORM, `s${i + 1}`, ram, parent, [...dirty.values()]);
        await store.deleteTag(`s${i}`); // A parent is not needed once the child is there.
        await store.gc();
        const reader = await open(store, `s${i + 1}`);
        expect(reader.manifest.parent).toBe(parent.digest);
        expect(contentOf(await loadRAM(reader))).toEqual(contentOf(ram));
        const live = reader.pageIndex.runs.reduce((sum, run) => sum + run.pageCount, 0);
        const read = reader.pageIndex.blobs.reduce((sum, blob) => sum + blob.pageCount, 0);
        expect(read).toBeLessThanOrEqual(live * 1.25);
      }
    }),
    fuzzOptions(12),
  );
});

test('many tiny saves are joined: a snapshot needs a bounded number of blobs', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: new Array<number>(200).fill(0) });
  await saveFull(store, PLATFORM, 's', ram);
  for (let page = 0; page < 150; page++) {
    ram.get('ram')!.set(testPage(page + 1), page * PAGE);
    await saveIncremental(store, PLATFORM, 's', ram, await open(store, 's'), [{ id: 'ram', page }]);
  }
  const reader = await open(store, 's');
  expect(reader.pageIndex.blobs.length).toBeLessThan(70);
  expect(contentOf(await loadRAM(reader))).toEqual(contentOf(ram));
});

test('an incremental save costs what changed', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: Array.from({ length: 4000 }, (_, i) => i + 1) });
  const full = await saveFull(store, PLATFORM, 'a', ram);
  const dirty = Array.from({ length: 40 }, (_, i) => ({ id: 'ram', page: i * 100 + 3 }));
  for (const { page } of dirty) ram.get('ram')!.set(testPage(page + 9), page * PAGE);
  const next = await saveIncremental(store, PLATFORM, 'b', ram, await open(store, 'a'), dirty);
  expect(next.writtenPages).toBe(40);
  expect(next.writtenBytes * 20).toBeLessThan(full.writtenBytes);
});

test('a parent with other blocks is refused, naming both', async () => {
  const store = new MemoryStore(PLATFORM);
  await saveFull(store, PLATFORM, 'a', testRAM({ ram: [1] }));
  const parent = await open(store, 'a');
  const blocks = blocksOf(testRAM({ ram: [1, 2] }));
  await expect(SnapshotBuilder.open(store, PLATFORM, { blocks, parent })).rejects.toThrow(
    '"ram" of 4096 bytes, the machine has "ram" of 8192 bytes',
  );
});

test('a cancelled save leaves the store as it was', async () => {
  const store = new MemoryStore(PLATFORM);
  const controller = new AbortController();
  const builder = await SnapshotBuilder.open(store, PLATFORM, {
    blocks: [{ id: 'ram', sizeBytes: PAGE }],
    signal: controller.signal,
  });
  await builder.putPage('ram', 0, testPage(1));
  controller.abort();
  await expect(builder.commit('a', {}, [])).rejects.toThrow(/abort/);
  expect(await store.list()).toEqual([]);
  await store.gc(); // The writer is closed, or this is refused.
  expect(store.blobs.size).toBe(0);
});

// Failure 26: sub-sections read as own fields; here every section has its length.
test('state survives its encoding, and equal states have equal bytes', () => {
  const value: fc.Arbitrary<SectionValue> = fc.oneof(
    fc.boolean(),
    fc.double(),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 40 }),
    fc.array(fc.nat({ max: 255 })),
    fc.array(fc.nat({ max: 0xffff_ffff })),
    fc.array(fc.double()),
  );
  const section = fc.record({
    name: fc.string({ minLength: 1, unit: 'grapheme' }),
    instance: fc.nat({ max: 3 }),
    version: fc.nat(),
    values: fc.uniqueArray(fc.tuple(fc.nat({ max: 0xffff }), value), { selector: ([id]) => id }),
  });
  const key = ({ name, instance }: { name: string; instance: number }) => `${name}#${instance}`;
  fc.assert(
    fc.property(fc.uniqueArray(section, { selector: key }), (raw) => {
      const sections: StateSection[] = raw.map((one) => ({ ...one, values: new Map(one.values) }));
      const bytes = encodeSections(sections);
      const loaded = decodeSections(bytes);
      expect(loaded.map((one) => ({ ...one, values: new Map([...one.values].sort()) }))).toEqual(
        sections.map((one) => ({ ...one, values: new Map([...one.values].sort()) })),
      );
      expect(encodeSections(loaded)).toEqual(bytes);
    }),
    fuzzOptions(150),
  );
});

test('two sections of one name and instance are refused when they are saved', () => {
  const section = { name: 'pit', version: 1, values: new Map() };
  expect(() => encodeSections([section, section])).toThrow(/section "pit" must be unique/);
  expect(() => encodeSections([section, { ...section, instance: 1 }])).not.toThrow();
});

test('a layer in an unknown compression is refused by name', async () => {
  const store = new MemoryStore(PLATFORM);
  await saveFull(store, PLATFORM, 'a', testRAM({ ram: [1, 2, 3] }), ZSTD);
  const opening = SnapshotReader.open(store, { ...PLATFORM, compressions: [] }, 'a');
  await expect(
    opening.then(async (reader) => {
      for await (const _ of reader.pages());
    }),
  ).rejects.toMatchObject({ code: 'UNKNOWN_COMPRESSION' });
});

test('a blob is read at once where a guest waits for its page', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: [1, 2, 3] });
  await loadZstd();
  await saveFull(store, PLATFORM, 'a', ram, ZSTD);
  const reader = await open(store, 'a');
  expect(reader.readBlobSync(0)).toEqual(await reader.readBlob(0));
  const layer = reader.manifest.pages[0]!;
  store.blobs.get(layer.digest)![9]! ^= 4;
  expect(() => reader.readBlobSync(0)).toThrow(/must have that digest/);
  const later = { ...PLATFORM, sha256: async (bytes: Uint8Array) => PLATFORM.sha256(bytes) };
  const slow = new MemoryStore(later);
  await saveFull(slow, later, 'a', ram);
  const slowReader = await SnapshotReader.open(slow, later, 'a');
  expect(() => slowReader.readBlobSync(0)).toThrow(TypeError);
});

test('a decompression bomb is refused before it is undone', async () => {
  const store = new MemoryStore(PLATFORM);
  await saveFull(store, PLATFORM, 'a', testRAM({ ram: [1, 2, 3] }), ZSTD);
  const reader = await open(store, 'a');
  // 64 MiB of zeros in some kilobytes, stated as the 3 pages that the index wants.
  const bomb = await ZSTD.compress(new Uint8Array(64 << 20));
  const digest = await digestOf(PLATFORM, bomb);
  store.blobs.set(digest, bomb);
  const page = { ...reader.manifest.pages[0]!, digest, size: bomb.length };
  const blobs = [{ digest, pageCount: 3 }];
  const index = encodePageIndex({ ...reader.pageIndex, blobs });
  const pageIndex = {
    ...reader.manifest.pageIndex,
    mediaType: 'application/vnd.quire.page-index.v1',
  };
  const indexDigest = await digestOf(PLATFORM, index);
  store.blobs.set(indexDigest, index);
  const manifest = encodeManifest({
    ...reader.manifest,
    pageIndex: { ...pageIndex, digest: indexDigest, size: index.length },
    pages: [page],
  });
  const writer = await store.openWriter();
  await writer.putManifest('bomb', manifest);
  await writer.close();
  const bad = await open(store, 'bomb');
  await expect(bad.readBlob(0)).rejects.toThrow(/must state 12288 bytes, it states 67108864/);
});

test('a page index that lies about a run, a block or a blob is refused, saying which', () => {
  const blobs = [
    { digest: `sha256:${'1'.repeat(64)}` as const, pageCount: 2 },
    { digest: `sha256:${'2'.repeat(64)}` as const, pageCount: 1 },
  ];
  const blocks = [{ id: 'ram', sizeBytes: 4 * PAGE }];
  const run = { blockIndex: 0, firstPage: 1, pageCount: 2, blobIndex: 0, blobPage: 0 };
  const decode = (change: Partial<PageIndex>) => () =>
    decodePageIndex(encodePageIndex({ blobs, blocks, runs: [run], ...change }));
  expect(decode({})).not.toThrow(); // The control.
  expect(decode({ runs: [{ ...run, blobPage: 1 }] })).toThrow(/run 0 must lie in blob/);
  expect(decode({ runs: [{ ...run, blobIndex: 2 }] })).toThrow(/run 0 is in blob 2, there are 2/);
  expect(decode({ runs: [{ ...run, blockIndex: 1 }] })).toThrow(/run 0 is of block 1/);
  expect(decode({ runs: [{ ...run, firstPage: 3 }] })).toThrow(/run 0 must lie in block "ram"/);
  expect(decode({ runs: [{ ...run, firstPage: 0xffff_ffff }] })).toThrow(/must lie in block/);
  expect(decode({ runs: [{ ...run, pageCount: 0 }] })).toThrow(/must lie in block/);
  const second = { ...run, firstPage: 2, pageCount: 1 };
  expect(decode({ runs: [run, second] })).toThrow(/run 1 must start behind the run before it/);
  expect(decode({ blobs: [blobs[0]!, blobs[0]!] })).toThrow(/is there twice/);
  expect(decode({ blobs: [{ ...blobs[0]!, pageCount: 257 }] })).toThrow(/1 to 256 pages, got 257/);
  expect(decode({ blocks: [blocks[0]!, blocks[0]!] })).toThrow(/block "ram" is there twice/);
  expect(decode({ blocks: [{ id: 'ram', sizeBytes: PAGE + 1 }] })).toThrow(/whole pages/);
  expect(decode({ blocks: [{ id: 'ram', sizeBytes: 2 ** 40 }] })).toThrow(/at most/);
});

test('a manifest of a newer format, and one of something else, are refused by name', async () => {
  const store = new MemoryStore(PLATFORM);
  await saveFull(store, PLATFORM, 'a', testRAM({ ram: [1] }));
  const text = new TextDecoder().decode(store.blobs.get((await store.resolve('a')).digest));
  const decode = (from: string, to: string) => () =>
    decodeManifest(new TextEncoder().encode(text.replace(from, to)), 'a');
  expect(decode('snapshot.v1', 'snapshot.v2')).toThrow(/at most version 1, it is version 2/);
  expect(decode('vnd.quire.snapshot.v1', 'vnd.other')).toThrow(/got "application\/vnd.other"/);
  expect(decode('vnd.quire.state.v1', 'vnd.quire.state.v2')).toThrow(/layer 0 must be of type/);
  expect(decode('"schemaVersion":2', '"schemaVersion":3')).toThrow(/must be of type/);
});

test('a snapshot that lost a blob is refused when it is opened, naming the blob', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: [1, 2] });
  await saveFull(store, PLATFORM, 'a', ram);
  await saveIncremental(store, PLATFORM, 'b', ram, await open(store, 'a'), []);
  const { digest } = (await open(store, 'b')).manifest.pages[0]!;
  store.blobs.delete(digest);
  await expect(open(store, 'b')).rejects.toMatchObject({ code: 'MISSING_BLOB', subject: digest });
});

test('gc spares what a tag reaches and is refused while a snapshot is in the making', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: [1, 2] });
  await saveFull(store, PLATFORM, 'a', ram);
  await saveFull(store, PLATFORM, 'b', testRAM({ ram: [1, 3] }));
  const writer = await store.openWriter();
  await expect(store.gc()).rejects.toMatchObject({ code: 'BUSY' });
  await writer.close();
  await store.deleteTag('b');
  expect((await store.gc({ isDryRun: true })).removedCount).toBe(3);
  expect((await store.gc()).removedCount).toBe(3);
  expect(contentOf(await loadRAM(await open(store, 'a')))).toEqual(contentOf(ram));
});

test('differences are told by key, section, field, block and page', async () => {
  const store = new MemoryStore(PLATFORM);
  const ram = testRAM({ ram: [1, 2, 3, 0, 0], gone: [1] });
  await saveFull(store, PLATFORM, 'a', ram);
  ram.get('ram')!.set(testPage(8), PAGE);
  ram.get('ram')!.set(testPage(0), 2 * PAGE);
  ram.get('ram')!.set(testPage(9), 4 * PAGE);
  ram.delete('gone');
  const builder = await SnapshotBuilder.open(store, PLATFORM, { blocks: blocksOf(ram) });
  await builder.putRange('ram', 0, ram.get('ram')!);
  const [cpu, ...rest] = TEST_SECTIONS;
  const changed = { ...cpu!, values: new Map([...cpu!.values, [2, 17]] as const) };
  await builder.commit('b', { ...TEST_CONFIG, cpu: 'p7' }, [changed, rest[0]!]);
  const [a, b] = [await open(store, 'a'), await open(store, 'b')];
  expect(await compareSnapshots(a, a)).toEqual({ config: [], sections: [], blocks: [] });
  expect(await compareSnapshots(a, b)).toEqual({
    config: ['cpu'],
    sections: [
      { section: 'cpu', versions: [3, 3], fields: [2] },
      { section: 'isa/serial', versions: [1, undefined], fields: [0, 1, 9] },
    ],
    blocks: [
      { blockId: 'ram', sizeBytes: [5 * PAGE, 5 * PAGE], pages: [1, 2, 4] },
      { blockId: 'gone', sizeBytes: [PAGE, undefined], pages: [] },
    ],
  });
});
