// An entropy source: fills buffers with the host's random bytes. VIRTIO Version 1.2, section 5.4
// "Entropy Device".
//
// Nothing of it is saved, so that no two machines made from one snapshot draw the same numbers.

import { sizeOf, writeBuffers } from './guest-buffer.ts';
import type { VirtioDevice, VirtioModel } from './virtio-device.ts';
import { TYPE_ENTROPY } from './virtio-registers.ts';
import type { VirtqueueChain } from './virtqueue.ts';

const REQUEST_QUEUE = 0;
/** A request may be answered in part; no more than this of the host's at a time. */
const REQUEST_BYTES_MAX = 1 << 16;

/** Fills the array with random bytes that nobody can guess. */
export type EntropySource = (bytes: Uint8Array) => void;

export class VirtioRNG implements VirtioModel {
  readonly type = TYPE_ENTROPY;
  readonly features = 0;
  readonly queueSizes = [8];
  readonly configBytes = 0;
  readonly savables = [];
  readonly #source: EntropySource;
  #device!: VirtioDevice;

  constructor(source: EntropySource) {
    this.#source = source;
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  readConfig(): number {
    return 0;
  }

  writeConfig(): void {}

  onNotify(index: number): void {
    this.#device.drain(index, (chain) => this.#fill(chain));
  }

  reset(): void {}

  /** No chain outlives a notification: what is in flight never got its bytes. */
  onRestored(): void {
    for (const chain of this.#device.chainsInFlight(REQUEST_QUEUE)) this.#fill(chain);
  }

  #fill(chain: VirtqueueChain): void {
    const bytes = new Uint8Array(Math.min(sizeOf(chain.writable), REQUEST_BYTES_MAX));
    if (bytes.length === 0) {
      this.#device.break('a request for entropy has no buffer to write');
      return;
    }
    this.#source(bytes);
    writeBuffers(this.#device.space, chain.writable, 0, bytes);
    this.#device.complete(REQUEST_QUEUE, chain, bytes.length);
  }
}
