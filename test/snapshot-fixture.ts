// Snapshots for tests: small machines' worth of pages, made from a seed, in any store.

import { createHash } from 'node:crypto';
import type { Compression, SnapshotPlatform } from '../src/snapshot/digest.ts';
import type { IndexedBlock } from '../src/snapshot/page-index.ts';
import type { StateSection } from '../src/snapshot/sections.ts';
import { SnapshotBuilder } from '../src/snapshot/snapshot-builder.ts';
import type { SnapshotReader } from '../src/snapshot/snapshot-reader.ts';
import type { SnapshotStore } from '../src/snapshot/store.ts';

export const PAGE = 4096;

/** A machine's memory, for tests. */
export type TestRAM = ReadonlyMap<string, Uint8Array>;

/** A page that only `seed` decides: 0 is zeros. */
export function testPage(seed: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  if (seed === 0) return page;
  let state = seed >>> 0;
  for (let i = 0; i < PAGE; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // Half of it repeats, so that it can be compressed.
    page[i] = i % 16 < 8 ? state >>> 24 : seed;
  }
  return page;
}

/** Blocks whose pages are `seeds`. */
export function testRAM(
  blocks: Readonly<Record<string, readonly number[]>>,
): Map<string, Uint8Array> {
  const ram = new Map<string, Uint8Array>();
  for (const [id, seeds] of Object.entries(blocks)) {
    const bytes = new Uint8Array(seeds.length * PAGE);
    for (const [i, seed] of seeds.entries()) bytes.set(testPage(seed), i * PAGE);
    ram.set(id, bytes);
  }
  return ram;
}

/** RAM in a form that is compared and printed quickly: size and digest by block. */
export function contentOf(ram: TestRAM): Record<string, string> {
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  return Object.fromEntries(
    [...ram].map(([id, bytes]) => [id, `${bytes.length} ${digest(bytes)}`]),
  );
}

export function blocksOf(ram: TestRAM): IndexedBlock[] {
  return [...ram].map(([id, bytes]) => ({ id, sizeBytes: bytes.length }));
}

export const TEST_CONFIG = { memoryBytes: 16 * PAGE, cpu: 'p6' };

export const TEST_SECTIONS: readonly StateSection[] = [
  {
    name: 'cpu',
    version: 3,
    values: new Map<number, number | Uint8Array>([
      [1, Uint8Array.from([1, 2, 3, 250])],
      [2, Number.POSITIVE_INFINITY],
    ]),
  },
  { name: 'isa/serial', instance: 1, version: 1, values: new Map([[7, [1, 2, 300]]]) },
  {
    name: 'isa/serial',
    version: 1,
    values: new Map<number, number | boolean | string>([
      [0, true],
      [1, -0],
      [9, 'größer'],
    ]),
  },
];

/** Saves all of `ram` in one go. */
export async function saveFull(
  store: SnapshotStore,
  platform: SnapshotPlatform,
  tag: string,
  ram: TestRAM,
  compression?: Compression,
) {
  const builder = await SnapshotBuilder.open(store, platform, {
    blocks: blocksOf(ram),
    ...(compression === undefined ? {} : { compression }),
  });
  try {
    for (const [id, bytes] of ram) await builder.putRange(id, 0, bytes);
    return await builder.commit(tag, TEST_CONFIG, TEST_SECTIONS);
  } finally {
    await builder.abort();
  }
}

/** Saves pages of `ram` on top of `parent`. */
export async function saveIncremental(
  store: SnapshotStore,
  platform: SnapshotPlatform,
  tag: string,
  ram: TestRAM,
  parent: SnapshotReader,
  dirty: readonly { readonly id: string; readonly page: number }[],
) {
  const builder = await SnapshotBuilder.open(store, platform, { blocks: blocksOf(ram), parent });
  try {
    for (const { id, page } of dirty)
      await builder.putPage(id, page, ram.get(id)!.subarray(page * PAGE, (page + 1) * PAGE));
    return await builder.commit(tag, TEST_CONFIG, TEST_SECTIONS);
  } finally {
    await builder.abort();
  }
}

/** All RAM of a snapshot. */
export async function loadRAM(reader: SnapshotReader): Promise<Map<string, Uint8Array>> {
  const ram = new Map<string, Uint8Array>();
  for (const { id, sizeBytes } of reader.pageIndex.blocks) ram.set(id, new Uint8Array(sizeBytes));
  for await (const { blockId, firstPage, bytes } of reader.pages())
    ram.get(blockId)!.set(bytes, firstPage * PAGE);
  return ram;
}
