// What Xen's public headers say of a domain's memory (xen/include/public/memory.h:
// populate_physmap, decrease_reservation; hvm/dm_op.h: relocate_memory, set_mem_type,
// track_dirty_vram; hvm/hvm_op.h: hvmmem_type_t; domctl.h: shadow operations), and a guest on it.
// What would lose a page is an error here although the hypervisor lets it pass.

import type { XenDriver, XenForeignPages, XenMemoryType } from '../../src/accel/xen/xen-driver.ts';

const PAGE = 4096;

interface Frame {
  bytes: Uint8Array;
  type: XenMemoryType;
}

export class XenModel implements XenDriver {
  readonly hostBase = 0x7f00_0000_0000n;
  readonly log: string[] = [];
  /** Called when pages have moved: a guest that runs on may write them. */
  onMoved: () => void = () => {};
  readonly #memory: Uint8Array;
  readonly #frames = new Map<number, Frame>();
  readonly #mapped = new Set<XenForeignPages>();
  #tracked: { first: number; count: number } | undefined;
  #isLogDirty = false;
  readonly #dirty = new Set<number>();

  constructor(memory: Uint8Array) {
    this.#memory = memory;
  }

  get mappedCount(): number {
    return this.#mapped.size;
  }

  /** Frames with memory, ascending. */
  get frames(): number[] {
    return [...this.#frames.keys()].sort((a, b) => a - b);
  }

  typeOf(frame: number): XenMemoryType | undefined {
    return this.#frames.get(frame)?.type;
  }

  populate(firstFrame: number, count: number): void {
    for (let frame = firstFrame; frame < firstFrame + count; frame++) {
      this.#must(!this.#frames.has(frame), 'EINVAL: populated');
      this.#frames.set(frame, { bytes: new Uint8Array(PAGE), type: 'ram_rw' });
    }
  }

  release(firstFrame: number, count: number): void {
    for (let frame = firstFrame; frame < firstFrame + count; frame++)
      this.#must(this.#frames.delete(frame), 'EINVAL: no page');
  }

  relocate(sourceFrame: number, count: number, targetFrame: number): void {
    this.log.push(`move ${count}`);
    for (let index = 0; index < count; index++) {
      const frame = this.#frame(sourceFrame + index);
      this.#must(frame.type === 'ram_rw', 'a typed page would move');
      this.#must(!this.#frames.has(targetFrame + index), 'a page would be lost');
      this.#frames.delete(sourceFrame + index);
      this.#frames.set(targetFrame + index, frame);
    }
    this.onMoved();
  }

  setMemoryType(firstFrame: number, count: number, type: XenMemoryType): void {
    this.log.push(`${type} ${count}`);
    for (let index = 0; index < count; index++) {
      const frame = this.#frame(firstFrame + index);
      const isServer = frame.type === 'ioreq_server' || type === 'ioreq_server';
      const isAllowed = !isServer || frame.type === 'ram_rw' || type === 'ram_rw';
      this.#must(isAllowed, 'EINVAL: type');
      frame.type = type;
    }
  }

  mapOver(hostAddress: bigint, firstFrame: number, count: number): void {
    const start = Number(hostAddress - this.hostBase);
    for (let index = 0; index < count; index++) {
      const frame = this.#frame(firstFrame + index);
      const bytes = this.#memory.subarray(start + index * PAGE, start + (index + 1) * PAGE);
      bytes.set(frame.bytes);
      frame.bytes = bytes;
    }
  }

  unmapOver(hostAddress: bigint, count: number): void {
    const start = Number(hostAddress - this.hostBase);
    for (const frame of this.#frames.values()) {
      const at = frame.bytes.byteOffset - this.#memory.byteOffset;
      const isOurs = frame.bytes.buffer === this.#memory.buffer;
      if (isOurs && at >= start && at < start + count * PAGE) frame.bytes = frame.bytes.slice();
    }
    this.#memory.fill(0, start, start + count * PAGE);
  }

  /** A copy: a model cannot map. */
  map(firstFrame: number, count: number): XenForeignPages {
    this.log.push(`map ${firstFrame}`);
    const pages = { bytes: new Uint8Array(count * PAGE), isPresent: new Uint8Array(count) };
    for (let index = 0; index < count; index++) {
      const frame = this.#frames.get(firstFrame + index);
      if (frame === undefined) continue;
      pages.isPresent[index] = 1;
      pages.bytes.set(frame.bytes, index * PAGE);
    }
    this.#mapped.add(pages);
    return pages;
  }

  unmap(pages: XenForeignPages): void {
    this.#must(this.#mapped.delete(pages), 'EINVAL: not mapped');
  }

  trackDirtyVRAM(first: number, count: number): Uint32Array | undefined {
    this.log.push(`track ${count}`);
    this.#must(!this.#isLogDirty, 'EINVAL: all is logged');
    const isSame = this.#tracked?.first === first && this.#tracked.count === count;
    this.#tracked = count === 0 ? undefined : { first, count };
    const words = this.#take(first, count);
    return isSame ? words : undefined;
  }

  setLogDirty(isOn: boolean): void {
    this.log.push(isOn ? 'log' : 'no log');
    this.#must(this.#isLogDirty !== isOn, 'EINVAL: log');
    this.#isLogDirty = isOn;
    this.#tracked = undefined;
    this.#dirty.clear();
  }

  cleanLog(first: number, count: number): Uint32Array {
    this.#must(this.#isLogDirty, 'EINVAL: log');
    return this.#take(first, count);
  }

  guestWrite(gpa: number, value: number): boolean {
    const number = Math.floor(gpa / PAGE);
    const frame = this.#frames.get(number);
    if (frame === undefined || frame.type !== 'ram_rw') return false;
    frame.bytes[gpa % PAGE] = value;
    const { first, count } = this.#tracked ?? { first: 0, count: 0 };
    if (this.#isLogDirty || (number >= first && number - first < count)) this.#dirty.add(number);
    return true;
  }

  guestRead(gpa: number): number | undefined {
    return this.#frames.get(Math.floor(gpa / PAGE))?.bytes[gpa % PAGE];
  }

  #take(first: number, count: number): Uint32Array {
    const words = new Uint32Array(Math.ceil(count / 32));
    for (let index = 0; index < count; index++)
      if (this.#dirty.delete(first + index))
        words[index >> 5] = words[index >> 5]! | (1 << (index & 31));
    return words;
  }

  #frame(number: number): Frame {
    const frame = this.#frames.get(number);
    this.#must(frame !== undefined, `EINVAL: no page at frame ${number}`);
    return frame;
  }

  #must(holds: boolean, reason: string): asserts holds {
    if (!holds) throw new Error(reason);
  }
}
