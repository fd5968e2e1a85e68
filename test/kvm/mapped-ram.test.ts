// RAM that the host maps: what the host does with it, seen in /proc, and what JavaScript's
// collector must not do. What it shares with other RAM is in test/ram-backing.test.ts.

import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type LinuxCalls, linuxCalls } from '../../src/accel/kvm/linux-calls.ts';
import { MappedRAM } from '../../src/accel/kvm/mapped-ram.ts';
import { BACKING_KINDS } from '../ram-backings.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const reason = BACKING_KINDS.at(-1)!.reason;

let folder: string;
beforeEach(({ skip }) => {
  skip(reason !== undefined, reason);
  folder = mkdtempSync(join(tmpdir(), 'quire-mapped-'));
});
afterEach(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
});

function map(capacityBytes: number, isSynchronous = true): MappedRAM {
  return new MappedRAM(capacityBytes, { calls: linuxCalls(), isSynchronous });
}

/** The lines of /proc/self/smaps about the mapping that holds an address. */
function mappingAt(address: number): string | undefined {
  const smaps = readFileSync('/proc/self/smaps', 'latin1');
  for (const part of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(part) ?? [];
    if (Number.parseInt(start!, 16) <= address && address < Number.parseInt(end!, 16)) return part;
  }
  return undefined;
}

function fieldOf(address: number, name: string): number {
  return Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(mappingAt(address)!)![1]) * 1024;
}

test('RAM costs nothing until it is touched, and is advised to be in huge pages', () => {
  const ram = map(64 * GIB);
  expect(ram.chunks.map((chunk) => chunk.length / GIB)).toEqual(new Array(16).fill(4));
  expect(ram.address % (2 * MIB)).toBe(0);
  ram.chunks[15]![4 * GIB - 1] = 1;
  expect(ram.chunks[15]![4 * GIB - 1]).toBe(1);
  expect(fieldOf(ram.address, 'Rss')).toBeLessThanOrEqual(2 * MIB);
  expect(mappingAt(ram.address)).toMatch(/^VmFlags:.* hg /m);
  expect(mappingAt(ram.address)).not.toMatch(/^VmFlags:.* dc /m);
});

test('discarded pages are the host\u2019s again, and read as zeros', () => {
  const ram = map(16 * MIB);
  ram.chunks[0]!.fill(0x55);
  expect(fieldOf(ram.address, 'Rss')).toBe(16 * MIB);
  ram.discard(4 * MIB, 8 * MIB);
  expect(fieldOf(ram.address, 'Rss')).toBe(8 * MIB);
  ram.discard(MIB, PAGE);
  const expected = new Uint8Array(16 * MIB).fill(0x55).fill(0, 4 * MIB, 12 * MIB);
  expected.fill(0, MIB, MIB + PAGE);
  expect(Buffer.compare(ram.chunks[0]!, expected)).toBe(0);
  expect(() => ram.discard(1, PAGE)).toThrow(/must be whole pages/);
  expect(() => ram.discard(16 * MIB, PAGE)).toThrow(/must be whole pages of 0x1000000 bytes/);
});

// Goal: without KVM_CAP_SYNC_MMU the kernel keeps using the pages that the guest once had.
test('where KVM does not follow mappings, pages stay where they are and no child has them', () => {
  const ram = map(16 * MIB, false);
  ram.chunks[0]!.fill(0x55);
  expect(mappingAt(ram.address)).toMatch(/^VmFlags:.* dc /m);
  ram.discard(0, 4 * MIB);
  expect(fieldOf(ram.address, 'Rss')).toBe(16 * MIB);
  expect(ram.chunks[0]!.subarray(0, 4 * MIB).every((byte) => byte === 0)).toBe(true);
  expect(ram.mapFile).toBeUndefined();
  expect(execFileSync('true').length).toBe(0);
  expect(ram.chunks[0]![5 * MIB]).toBe(0x55);
});

test('a file shows at once, is copied where it is written, and stays as it was', () => {
  const path = join(folder, 'ram');
  const content = new Uint8Array(4 * MIB).map((_, index) => index >> 8);
  writeFileSync(path, content);
  const ram = map(8 * MIB);
  const bytes = ram.chunks[0]!;
  bytes.fill(0x55);
  const file = openSync(path, 'r');
  ram.mapFile!(2 * MIB, 2 * MIB, file, MIB);
  closeSync(file);
  expect(Buffer.compare(bytes.subarray(2 * MIB, 4 * MIB), content.subarray(MIB, 3 * MIB))).toBe(0);
  expect([bytes[2 * MIB - 1], bytes[4 * MIB]]).toEqual([0x55, 0x55]);
  bytes.fill(0x77, 2 * MIB, 2 * MIB + PAGE);
  expect(Buffer.compare(readFileSync(path), content)).toBe(0);
  // Given back, pages are zeros and not the file's.
  ram.discard(2 * MIB, 2 * PAGE);
  expect(bytes.subarray(2 * MIB, 2 * MIB + 2 * PAGE).every((byte) => byte === 0)).toBe(true);
  expect(bytes[2 * MIB + 2 * PAGE]).toBe(content[MIB + 2 * PAGE]);
});

// Goal: the collector sees no bytes of ours, and what it frees last must not be freed too early.
test('RAM stays while a view of it is left, and is unmapped afterwards', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const collect = async () => {
    for (let round = 0; round < 10; round++) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const views: Uint8Array[] = [];
  const address = (() => {
    const ram = map(3 * MIB);
    ram.chunks[0]!.fill(0x5a);
    views.push(ram.chunks[0]!.subarray(MIB, MIB + 8));
    return ram.address;
  })();
  await collect();
  expect([...views[0]!]).toEqual([...new Uint8Array(8).fill(0x5a)]);
  expect(mappingAt(address)).toBeDefined();
  views.length = 0;
  await collect();
  expect(mappingAt(address)).toBeUndefined();
});

test('a host that refuses is a RangeError, and sizes are whole pages', () => {
  expect(() => map(100)).toThrow(/must be whole pages: got 100 bytes/);
  const calls = { mmap: () => -1, errno: () => 'ENOMEM' } as unknown as LinuxCalls;
  expect(() => new MappedRAM(GIB, { calls, isSynchronous: true })).toThrow(
    'Cannot create machine as the host must map 0x40000000 bytes for its RAM: ENOMEM',
  );
});
