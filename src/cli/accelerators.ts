// What runs the processor, as `--accel` names it.

import { kvmAccelerator } from '../accel/kvm/kvm-accelerator.ts';
import { KVMError } from '../accel/kvm/kvm-vm.ts';
import { interpreterAccelerator, softwareAccelerator } from '../accel/software/index.ts';
import type { Accelerator } from '../cpu/vcpu.ts';
import { MEMORY_BYTES_MAX as HOST_MEMORY_BYTES_MAX } from '../machine/index.ts';
import { MEMORY_BYTES_MAX } from './values.ts';

/** Values of `--accel`; those with a colon name what is taken if the first is not to be had. */
export const ACCELERATORS = ['software', 'software,translator=off', 'kvm', 'kvm:software'] as const;

export type AcceleratorName = (typeof ACCELERATORS)[number];

/** The largest guest RAM that it can have; another may have to do with less. */
export function memoryBytesMax(name: AcceleratorName): number {
  return name.startsWith('kvm') ? HOST_MEMORY_BYTES_MAX : MEMORY_BYTES_MAX;
}

/**
 * @param onWarning told why it is not the first choice, and what the accelerator cannot do well
 * @throws {KVMError} why there is no KVM, where nothing else is allowed
 */
export function openAccelerator(
  name: AcceleratorName,
  onWarning: (message: string) => void,
  createKVM: typeof kvmAccelerator = kvmAccelerator,
): Accelerator {
  if (name === 'software') return softwareAccelerator;
  if (name === 'software,translator=off') return interpreterAccelerator;
  try {
    return createKVM((error) => onWarning(error.message));
  } catch (error) {
    if (name === 'kvm' || !(error instanceof KVMError)) throw error;
    onWarning(`${error.message}; the software accelerator runs the guest`);
    return softwareAccelerator;
  }
}
