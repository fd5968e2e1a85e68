// A memory balloon: the host asks for pages, the driver gives the numbers of those that it will not
// use, and takes them back later. VIRTIO Version 1.2, section 5.5 "Traditional
// Memory Balloon Device".
//
// A page in the balloon reads as zeros, and stays out of snapshots, which store no zero pages.

import { defineState, type Savable, type SavedSection } from '../saved-state.ts';
import { readBuffers, sizeOf } from './guest-buffer.ts';
import type { VirtioDevice, VirtioModel } from './virtio-device.ts';
import { TYPE_BALLOON } from './virtio-registers.ts';
import type { VirtqueueChain } from './virtqueue.ts';

/** Pages of the balloon have 4096 bytes on every guest. */
export const BALLOON_PAGE_BYTES = 4096;
const INFLATE_QUEUE = 0;
const DEFLATE_QUEUE = 1;
const QUEUE_SIZE = 128;
/** Configuration: pages wanted, and pages that the driver says it gave. */
const CONFIG_WANTED = 0;
const CONFIG_ACTUAL = 4;
const CONFIG_BYTES = 8;
/** Page numbers that one chain may hold; Linux sends 256. The rest is not looked at. */
const CHAIN_PAGE_COUNT_MAX = 4096;

function powerOnState() {
  return { wantedPages: 0, actualPages: 0 };
}

type BalloonState = ReturnType<typeof powerOnState>;

export class VirtioBalloon implements VirtioModel, Savable {
  readonly type = TYPE_BALLOON;
  readonly features = 0;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly configBytes = CONFIG_BYTES;
  readonly #schema;
  readonly #memoryBytes: number;
  readonly #discardPage: (gpa: number) => void;
  #device!: VirtioDevice;
  // State, all of it saved.
  readonly state: BalloonState = powerOnState();

  /**
   * @param memoryBytes guest RAM, what a target is measured by
   * @param discardPage makes a page of guest RAM read as zeros; of anything else, does nothing
   */
  constructor(name: string, memoryBytes: number, discardPage: (gpa: number) => void) {
    this.#memoryBytes = memoryBytes;
    this.#discardPage = discardPage;
    this.#schema = defineState<BalloonState>(name, 1, {
      wantedPages: { id: 1, type: 'u32', since: 1 },
      actualPages: { id: 2, type: 'u32', since: 1 },
    });
  }

  get schema() {
    return this.#schema;
  }

  get savables(): readonly Savable[] {
    return [this];
  }

  save(): SavedSection {
    return this.#schema.save(this.state);
  }

  restore(section: SavedSection): void {
    this.#schema.restore(section, this.state);
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  /** What the guest has left, by its own word, bytes. */
  get actualBytes(): number {
    return Math.max(0, this.#memoryBytes - this.state.actualPages * BALLOON_PAGE_BYTES);
  }

  /** What the guest should have left, bytes. */
  get targetBytes(): number {
    return this.#memoryBytes - this.state.wantedPages * BALLOON_PAGE_BYTES;
  }

  /**
   * Asks the guest to have `bytes` left, which it does when it can; no more than all of its RAM.
   */
  setTargetBytes(bytes: number): void {
    const target = Math.min(Math.max(bytes, 0), this.#memoryBytes);
    const wantedPages = Math.floor((this.#memoryBytes - target) / BALLOON_PAGE_BYTES);
    if (wantedPages === this.state.wantedPages) return;
    this.state.wantedPages = wantedPages;
    this.#device.noteConfigChange();
  }

  readConfig(offset: number): number {
    const isWanted = offset < CONFIG_ACTUAL;
    const value = isWanted ? this.state.wantedPages : this.state.actualPages;
    return (value >>> (8 * (offset - (isWanted ? CONFIG_WANTED : CONFIG_ACTUAL)))) & 0xff;
  }

  writeConfig(offset: number, value: number): void {
    if (offset < CONFIG_ACTUAL) return; // Read-only for the driver.
    const shift = 8 * (offset - CONFIG_ACTUAL);
    const rest = this.state.actualPages & ~(0xff << shift);
    this.state.actualPages = (rest | ((value & 0xff) << shift)) >>> 0;
  }

  onNotify(index: number): void {
    this.#device.drain(index, (chain) => this.#take(index, chain));
  }

  /** The target stays: it is the host's. After a reset the guest has all its pages. */
  reset(): void {
    this.state.actualPages = 0;
  }

  onRestored(): void {
    for (const index of [INFLATE_QUEUE, DEFLATE_QUEUE])
      for (const chain of this.#device.chainsInFlight(index)) this.#take(index, chain);
  }

  #take(index: number, chain: VirtqueueChain): void {
    // A page that comes back needs nothing: it is RAM that reads as zeros until it is written.
    if (index === INFLATE_QUEUE) this.#inflate(chain);
    this.#device.complete(index, chain, 0);
  }

  #inflate(chain: VirtqueueChain): void {
    const count = Math.min(Math.floor(sizeOf(chain.readable) / 4), CHAIN_PAGE_COUNT_MAX);
    const bytes = new Uint8Array(4 * count);
    readBuffers(this.#device.space, chain.readable, 0, bytes);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < count; i++)
      this.#discardPage(view.getUint32(4 * i, true) * BALLOON_PAGE_BYTES);
  }
}
