// Damage to a store's files, and what a reader says to it.

import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import { SnapshotReader } from '../src/snapshot/snapshot-reader.ts';
import type { SnapshotStore } from '../src/snapshot/store.ts';
import { loadRAM, type TestRAM } from './snapshot-fixture.ts';

/** One way to break bytes, by numbers that a property test draws. */
export interface Damage {
  readonly kind: 'flip' | 'cut' | 'extend' | 'zero' | 'swap' | 'u32';
  /** Where, as a part of the whole. */
  readonly at: number;
  readonly value: number;
}

/** A damaged copy, surely different. */
export function damage(bytes: Uint8Array, { kind, at, value }: Damage): Uint8Array {
  const copy = Uint8Array.from(bytes); // A Buffer's slice() is no copy.
  const offset = Math.min(bytes.length - 1, Math.floor(at * bytes.length));
  if (kind === 'cut') return copy.subarray(0, offset);
  if (kind === 'extend') return Uint8Array.from([...copy, value & 0xff]);
  if (kind === 'zero') copy.fill(0, offset, offset + 1 + (value % 16));
  if (kind === 'swap') {
    const half = copy.length >> 1;
    copy.set(bytes.subarray(half, half * 2), 0);
    copy.set(bytes.subarray(0, half), half);
  }
  if (kind === 'u32') {
    // A length or a count that lies, and by much.
    const view = new DataView(copy.buffer);
    if (copy.length >= 4) view.setUint32(Math.min(offset & ~1, copy.length - 4), value, true);
  }
  const isSame = copy.every((byte, i) => byte === bytes[i]);
  if (kind === 'flip' || isSame) copy[offset] = copy[offset]! ^ (1 << (value % 8));
  return copy;
}

/** Opens and loads everything; the RAM, or throws. */
export async function loadAll(store: SnapshotStore, tag: string): Promise<TestRAM> {
  return loadRAM(await SnapshotReader.open(store, NODE_PLATFORM, tag));
}
