// The CPUID table that a guest sees on KVM: ours, the same on every accelerator. What the host has
// beyond it is hidden; what the host lacks of it is an error, with one exception: a host that is
// itself emulated by QEMU has no VME, which no guest of today needs and CPUID then denies.

import { FEATURES, readCPUID } from '../../cpu/cpuid.ts';
import { KVM_CPUID_ENTRY2, KVM_CPUID2 } from './abi.ts';
import type { CPUIDLeaf } from './kvm-host.ts';
import { KVMError } from './kvm-vm.ts';
import type { HostBytes, LinuxCalls } from './linux-calls.ts';

/** First leaves of the three ranges; each says in EAX where it ends. */
const RANGES = [0, 0x4000_0000, 0x8000_0000];
const EDX = 3;
const FEATURE_VME = 1 << 1;
const FEATURE_NX = 1 << 20;

/**
 * Our leaves, as the kernel wants them.
 * @throws {KVMError} `ENOSYS` naming the feature bits that this host cannot give
 */
export function guestCPUID(
  calls: LinuxCalls,
  supported: ReadonlyMap<number, CPUIDLeaf>,
): HostBytes {
  refuseMissing(supported, 1, FEATURES & ~FEATURE_VME);
  refuseMissing(supported, 0x8000_0001, FEATURE_NX);
  const leaves = [...ourLeaves(featuresOf(supported, 1) & FEATURE_VME)];
  const { at, sizeBytes } = KVM_CPUID_ENTRY2;
  const table = calls.allocate(KVM_CPUID2.sizeBytes + leaves.length * sizeBytes);
  const { view } = table;
  view.setUint32(KVM_CPUID2.at.nent, leaves.length, true);
  for (const [index, [leaf, values]] of leaves.entries()) {
    const entry = KVM_CPUID2.at.entries + index * sizeBytes;
    view.setUint32(entry + at.function, leaf, true);
    for (const [register, value] of values.entries())
      view.setUint32(entry + at.eax + register * 4, value, true);
  }
  return table;
}

/** Whether the host is QEMU's emulation of a processor: nothing else of today lacks VME. */
export function isHostEmulated(supported: ReadonlyMap<number, CPUIDLeaf>): boolean {
  return (featuresOf(supported, 1) & FEATURE_VME) === 0;
}

function* ourLeaves(vme: number): Generator<[leaf: number, values: Uint32Array]> {
  for (const first of RANGES) {
    const head = new Uint32Array(4);
    readCPUID(first, true, head);
    for (let leaf = first; leaf <= head[0]!; leaf++) {
      const values = new Uint32Array(4);
      readCPUID(leaf, true, values);
      if (leaf === 1) values[EDX] = (values[EDX]! & ~FEATURE_VME) | vme;
      yield [leaf, values];
    }
  }
}

function featuresOf(supported: ReadonlyMap<number, CPUIDLeaf>, leaf: number): number {
  return supported.get(leaf)?.[EDX] ?? 0;
}

function refuseMissing(
  supported: ReadonlyMap<number, CPUIDLeaf>,
  leaf: number,
  wanted: number,
): void {
  const lacking = wanted & ~featuresOf(supported, leaf);
  if (lacking === 0) return;
  const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (lacking >>> bit) & 1);
  throw new KVMError(
    'ENOSYS',
    `Cannot run the guest's processor on KVM as the host must offer every feature of it: ` +
      `CPUID leaf 0x${leaf.toString(16)} EDX lacks bits ${bits.join(', ')}`,
  );
}
