// Direct access of a device to guest memory: views of RAM, and a bounce buffer for what is none.

import type { AddressSpace } from './address-space.ts';
import { SECTION_RAM } from './flat-view.ts';

/** Most bytes that one mapping bounces; a guest names the range, the host gives the memory. */
export const DMA_BOUNCE_BYTES_MAX = 1 << 20;
/** Most pieces that one mapping has. */
export const DMA_SEGMENT_COUNT_MAX = 1024;

/** One contiguous piece of a mapping. */
export interface DMASegment {
  /** First guest-physical address. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
  /** Where it lies in RAM, or −1 for a bounce buffer. */
  readonly ramOffset: number;
}

/**
 * A range of guest memory held by a device, from `AddressSpace.mapRange`.
 *
 * Pieces that are bounced hold what was read when the range was mapped; what a device wrote to them
 * goes out at `unmap`. Writes become known to code pages and dirty bytes at `unmap`, too.
 */
export class DMAMapping {
  readonly segments: readonly DMASegment[];
  /** How much is mapped, from its first byte on: what was asked for, or less. */
  readonly sizeBytes: number;
  readonly #space: AddressSpace;
  readonly #isForWrite: boolean;
  #isMapped = true;

  /** @internal */
  constructor(space: AddressSpace, gpa: number, sizeBytes: number, isForWrite: boolean) {
    if (!Number.isInteger(sizeBytes) || sizeBytes < 0)
      throw new RangeError(`Cannot map DMA range as its size must not be negative: ${sizeBytes}`);
    this.#space = space;
    this.#isForWrite = isForWrite;
    const segments: DMASegment[] = [];
    let done = 0;
    let bounceRest = DMA_BOUNCE_BYTES_MAX;
    while (done < sizeBytes && segments.length < DMA_SEGMENT_COUNT_MAX) {
      const segment = makeSegment(space, gpa + done, sizeBytes - done, bounceRest, isForWrite);
      if (segment.bytes.length === 0) break;
      if (segment.ramOffset < 0) bounceRest -= segment.bytes.length;
      segments.push(segment);
      done += segment.bytes.length;
    }
    this.segments = segments;
    this.sizeBytes = done;
  }

  /**
   * Ends the access. A second call does nothing.
   * @param usedBytes how many bytes, from the first on, the device wrote
   */
  unmap(usedBytes: number = this.sizeBytes): void {
    if (!this.#isMapped) return;
    this.#isMapped = false;
    if (!this.#isForWrite) return;
    let rest = Math.min(usedBytes, this.sizeBytes);
    for (const { gpa, bytes, ramOffset } of this.segments) {
      const size = Math.min(rest, bytes.length);
      if (size === 0) return;
      if (ramOffset >= 0) this.#space.ramWrites?.note(ramOffset, size);
      else this.#space.writeBytes(gpa, bytes.subarray(0, size));
      rest -= size;
    }
  }
}

function makeSegment(
  space: AddressSpace,
  gpa: number,
  restBytes: number,
  bounceRestBytes: number,
  isForWrite: boolean,
): DMASegment {
  const section = space.find(gpa);
  const isDirect = isForWrite ? section.kind === SECTION_RAM : section.ramOffset >= 0;
  if (isDirect) {
    const at = gpa - section.start;
    const ramOffset = section.ramOffset + at;
    const size = Math.min(restBytes, section.sizeBytes - at);
    space.ramList!.ensure(ramOffset, size);
    if (isForWrite) space.ramWrites?.before(ramOffset, size);
    return { gpa, ramOffset, bytes: space.ramList!.bytesAt(ramOffset, size) };
  }
  const size = Math.min(restBytes, bounceRestBytes, space.runBytes(gpa, bounceRestBytes));
  const bytes = new Uint8Array(size);
  if (!isForWrite) space.readBytes(gpa, bytes);
  return { gpa, bytes, ramOffset: -1 };
}
