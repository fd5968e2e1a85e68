// Failure 25: every region of every file is flipped, cut, extended, zeroed and reordered.

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { type Damage, damage, loadAll } from '../../../test/snapshot-damage.ts';
import { contentOf, saveFull, saveIncremental, testRAM } from '../../../test/snapshot-fixture.ts';
import { type Digest, digestOf } from '../../snapshot/digest.ts';
import { decodeManifest, encodeManifest, layerDescriptor } from '../../snapshot/manifest.ts';
import { MemoryStore } from '../../snapshot/memory-store.ts';
import { decodePageIndex } from '../../snapshot/page-index.ts';
import { decodeSections } from '../../snapshot/sections.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM, ZSTD } from './node-platform.ts';

const RAM = testRAM({ 'pc.ram': [1, 2, 0, 3, 3, 0, 9, 8], 'vga/vram': [5, 0, 6] });
let path = '';
const DAMAGE: fc.Arbitrary<Damage> = fc.record({
  kind: fc.constantFrom('flip', 'cut', 'extend', 'zero', 'swap', 'u32'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  value: fc.oneof(fc.nat({ max: 300 }), fc.constantFrom(0x7fff_ffff, 0x8000_0000, 0xffff_ffff)),
});

beforeAll(async () => {
  path = mkdtempSync(join(tmpdir(), 'quire-damage-'));
  const store = await DirectoryStore.open(path);
  await saveFull(store, NODE_PLATFORM, 'parent', RAM, ZSTD);
  const parent = await SnapshotReader.open(store, NODE_PLATFORM, 'parent');
  const dirty = [{ id: 'pc.ram', page: 3 }];
  await saveIncremental(store, NODE_PLATFORM, 'child', RAM, parent, dirty);
});

afterAll(() => rmSync(path, { recursive: true, force: true }));

/** Whether a load gives the very memory, or a named error. */
async function outcome(store: DirectoryStore | MemoryStore, tag: string): Promise<string> {
  try {
    return JSON.stringify(contentOf(await loadAll(store, tag)));
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    expect(error.message).toMatch(/^Cannot /);
    return error.code;
  }
}

test('no damage to any file of a store is taken for a snapshot', async () => {
  const good = JSON.stringify(contentOf(RAM));
  const names = readdirSync(join(path, 'blobs', 'sha256')).map((name) => `blobs/sha256/${name}`);
  const files = ['index.json', 'oci-layout', ...names];
  const codes = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...files), DAMAGE, async (file, how) => {
      const original = readFileSync(join(path, file));
      writeFileSync(join(path, file), damage(original, how));
      try {
        let result: string;
        try {
          const store = await DirectoryStore.open(path, { create: false });
          result = await outcome(store, 'child');
        } catch (error) {
          if (!(error instanceof SnapshotError)) throw error;
          result = error.code;
        }
        codes.add(result);
        // The parent's own blobs, and white space of JSON, are not the child's concern.
        const isNeeded = file.startsWith('blobs') || result !== good;
        expect(isNeeded || file === 'index.json' || file === 'oci-layout').toBe(true);
        if (result !== good) expect(result).toMatch(/^[A-Z_]+$/);
      } finally {
        writeFileSync(join(path, file), original);
      }
    }),
    fuzzOptions(400),
  );
  expect(codes).toContain('CORRUPT');
  const store = await DirectoryStore.open(path);
  expect(await outcome(store, 'child')).toBe(good); // The control: undamaged, it loads.
});

test('every byte of every blob counts: a flip of any is refused', async () => {
  const store = await DirectoryStore.open(path);
  const reader = await SnapshotReader.open(store, NODE_PLATFORM, 'child');
  const { config, state, pageIndex, pages } = reader.manifest;
  const manifest = await store.resolve('child');
  for (const { digest } of [manifest, config, state, pageIndex, ...pages]) {
    const file = join(path, 'blobs', 'sha256', digest.slice(7));
    const original = readFileSync(file);
    const step = Math.max(1, Math.floor(original.length / 60));
    for (let offset = 0; offset < original.length; offset += step) {
      const broken = Uint8Array.from(original);
      broken[offset] = broken[offset]! ^ 0x10;
      writeFileSync(file, broken);
      expect(await outcome(store, 'child')).toBe('CORRUPT');
    }
    writeFileSync(file, original.subarray(0, -1));
    expect(await outcome(store, 'child')).toMatch(/CORRUPT|MISSING_BLOB/);
    writeFileSync(file, original);
  }
});

// Digests protect against accidents. Against a sender who computes them, only the decoders do.
test('hostile blobs with right digests are refused, or are memory of the stated size', async () => {
  const store = await DirectoryStore.open(path);
  const { manifest, pageIndex } = await SnapshotReader.open(store, NODE_PLATFORM, 'child');
  const part = fc.constantFrom('state', 'pageIndex', 'manifest');
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(part, DAMAGE, async (which, how) => {
      const memory = new MemoryStore(NODE_PLATFORM);
      for (const layer of [manifest.config, manifest.state, manifest.pageIndex, ...manifest.pages])
        memory.blobs.set(layer.digest, await store.getBlob(layer));
      const put = async (bytes: Uint8Array): Promise<Digest> => {
        const digest = await digestOf(NODE_PLATFORM, bytes);
        memory.blobs.set(digest, bytes);
        return digest;
      };
      let bytes: Uint8Array;
      if (which === 'manifest') bytes = damage(encodeManifest(manifest), how);
      else {
        const raw = damage(await store.getBlob(manifest[which]), how);
        const layer = layerDescriptor(manifest[which].mediaType, {
          digest: await put(raw),
          size: raw.length,
          rawSize: raw.length,
          compression: undefined,
        });
        bytes = encodeManifest({ ...manifest, [which]: layer });
      }
      const digest = await put(bytes);
      const descriptor = { mediaType: 'x', digest, size: bytes.length };
      try {
        const reader = await SnapshotReader.open(memory, NODE_PLATFORM, descriptor);
        const ramBytes = reader.pageIndex.blocks.reduce((sum, one) => sum + one.sizeBytes, 0);
        if (ramBytes > 2 ** 24) return;
        for await (const { blockId, firstPage, bytes: pages } of reader.pages()) {
          const block = reader.pageIndex.blocks.find(({ id }) => id === blockId)!;
          expect(firstPage * 4096 + pages.length).toBeLessThanOrEqual(block.sizeBytes);
        }
        accepted++;
      } catch (error) {
        if (!(error instanceof SnapshotError)) throw error;
      }
    }),
    fuzzOptions(500),
  );
  expect(accepted).toBeGreaterThan(0); // A flipped register value is a snapshot, too.
  expect(pageIndex.blocks).toHaveLength(2);
});

test('the decoders answer any bytes with a snapshot error', () => {
  const magic = fc.constantFrom('QSEC', 'QPIX').map((text) => new TextEncoder().encode(text));
  const rest = fc.uint8Array({ maxLength: 200 });
  const version = fc.constantFrom([1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]);
  fc.assert(
    fc.property(magic, version, rest, (head, middle, tail) => {
      const bytes = Uint8Array.from([...head, ...middle, ...tail]);
      for (const decode of [decodeSections, decodePageIndex]) expectRefusal(() => decode(bytes));
      expectRefusal(() => decodeManifest(bytes, 'x'));
    }),
    fuzzOptions(2000),
  );
});

function expectRefusal(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    expect(error).toBeInstanceOf(SnapshotError);
  }
}

test('a copied store is the same store', async () => {
  const copy = `${path}-copy`;
  cpSync(path, copy, { recursive: true });
  try {
    const store = await DirectoryStore.open(copy, { create: false });
    expect(await outcome(store, 'child')).toBe(JSON.stringify(contentOf(RAM)));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
});
