// Buffers in guest memory that a driver hands to a device: runs of RAM, in the driver's order.

import type { AddressSpace } from '../../memory/address-space.ts';
import { SECTION_RAM } from '../../memory/flat-view.ts';

/** One run of guest memory. */
export interface GuestBuffer {
  readonly gpa: number;
  readonly sizeBytes: number;
}

/**
 * Whether a device may use the run: RAM all over, or ROM too if it only reads. What leads to
 * devices is refused, so that no driver can have one device's registers driven by another.
 */
export function isGuestMemory(
  space: AddressSpace,
  gpa: number,
  sizeBytes: number,
  isForWrite: boolean,
): boolean {
  for (let done = 0; done < sizeBytes; ) {
    const section = space.find(gpa + done);
    if (isForWrite ? section.kind !== SECTION_RAM : section.ramOffset < 0) return false;
    done += section.sizeBytes - (gpa + done - section.start);
  }
  return true;
}

/** Size of all of them together. */
export function sizeOf(buffers: readonly GuestBuffer[]): number {
  return buffers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** Calls back for each run of the bytes [offset, offset + sizeBytes) that there is. */
function forRuns(
  buffers: readonly GuestBuffer[],
  offset: number,
  sizeBytes: number,
  onRun: (gpa: number, done: number, sizeBytes: number) => void,
): number {
  let skip = offset;
  let done = 0;
  for (const buffer of buffers) {
    if (done === sizeBytes) break;
    if (skip >= buffer.sizeBytes) {
      skip -= buffer.sizeBytes;
      continue;
    }
    const size = Math.min(buffer.sizeBytes - skip, sizeBytes - done);
    onRun(buffer.gpa + skip, done, size);
    done += size;
    skip = 0;
  }
  return done;
}

/** Fills `out` from byte `offset` of the buffers on; returns how much there was. */
export function readBuffers(
  space: AddressSpace,
  buffers: readonly GuestBuffer[],
  offset: number,
  out: Uint8Array,
): number {
  return forRuns(buffers, offset, out.length, (gpa, done, size) =>
    space.readBytes(gpa, out.subarray(done, done + size)),
  );
}

/** Writes `bytes` from byte `offset` of the buffers on; returns for how much there was room. */
export function writeBuffers(
  space: AddressSpace,
  buffers: readonly GuestBuffer[],
  offset: number,
  bytes: Uint8Array,
): number {
  return forRuns(buffers, offset, bytes.length, (gpa, done, size) =>
    space.writeBytes(gpa, bytes.subarray(done, done + size)),
  );
}
