// The kinds of memory that RAM can be in, for tests that want the same of each.

import { linuxCalls } from '../src/accel/kvm/linux-calls.ts';
import { MappedRAM } from '../src/accel/kvm/mapped-ram.ts';
import { RAM_CHUNK_BYTES, type RAMBacking } from '../src/memory/ram-backing.ts';

/** One kind. */
export interface BackingKind {
  readonly name: string;
  /** Why it cannot be had here. */
  readonly reason: string | undefined;
  create(capacityBytes: number): RAMBacking;
}

function missingMappings(): string | undefined {
  try {
    linuxCalls();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Buffers of the engine's; the host gives their pages when they are touched. */
function heapBacking(capacityBytes: number): RAMBacking {
  const chunks: Uint8Array[] = [];
  for (let start = 0; start < capacityBytes; start += RAM_CHUNK_BYTES)
    chunks.push(new Uint8Array(Math.min(RAM_CHUNK_BYTES, capacityBytes - start)));
  return { chunks };
}

export const BACKING_KINDS: readonly BackingKind[] = [
  { name: 'array buffers', reason: undefined, create: heapBacking },
  {
    name: 'a mapping of the host',
    reason: missingMappings(),
    create: (capacityBytes) =>
      new MappedRAM(capacityBytes, { calls: linuxCalls(), isSynchronous: true }),
  },
];
