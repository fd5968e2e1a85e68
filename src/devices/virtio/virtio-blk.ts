// A block device: each chain is a request for sectors of a drive. VIRTIO Version 1.2, section 5.2
// "Block Device".
//
// A request is a header to read (type, 32 bits reserved, sector), data to read or to write, and one
// status byte to write at the very end. Buffers may cut this anywhere.

import { type BlockError, SECTOR_BYTES } from '../block/block-device.ts';
import type { Drive } from '../block/drive.ts';
import { readBuffers, sizeOf, writeBuffers } from './guest-buffer.ts';
import type { VirtioDevice, VirtioModel } from './virtio-device.ts';
import { FEATURE_ANY_LAYOUT, TYPE_BLOCK } from './virtio-registers.ts';
import type { VirtqueueChain } from './virtqueue.ts';

/** Features: section 5.2.3. */
const FEATURE_SEGMENTS_MAX = 1 << 2;
const FEATURE_GEOMETRY = 1 << 4;
const FEATURE_READ_ONLY = 1 << 5;
const FEATURE_BLOCK_SIZE = 1 << 6;
const FEATURE_FLUSH = 1 << 9;

/** Requests: section 5.2.6. */
const REQUEST_IN = 0;
const REQUEST_OUT = 1;
const REQUEST_FLUSH = 4;
const REQUEST_GET_ID = 8;
const HEADER_BYTES = 16;
const ID_BYTES = 20;
const RESULT_OK = 0;
const RESULT_ERROR = 1;
const RESULT_UNSUPPORTED = 2;

const QUEUE_SIZE = 128;
/** A request has a header and a status besides its data. */
const SEGMENTS_MAX = QUEUE_SIZE - 2;
/** Largest request, and what is on its way together before the queue waits. */
const REQUEST_BYTES_MAX = 32 << 20;
const IN_FLIGHT_BYTES_MAX = 64 << 20;
const CONFIG_BYTES = 24;
/** What disks without a geometry pretend to have. */
const HEADS = 16;
const SECTORS_PER_TRACK = 63;
const CYLINDERS_MAX = 0xffff;

export class VirtioBlk implements VirtioModel {
  readonly type = TYPE_BLOCK;
  readonly features: number;
  readonly queueSizes = [QUEUE_SIZE];
  readonly configBytes = CONFIG_BYTES;
  readonly savables = [];
  readonly drive: Drive;
  readonly #serial: string;
  readonly #config = new Uint8Array(CONFIG_BYTES);
  #device!: VirtioDevice;
  /** Bytes of data in requests of the host; requests under way are the host's and not saved. */
  #inFlightBytes = 0;

  /** @param serial at most 20 ASCII characters, by which guests find a disk again */
  constructor(drive: Drive, serial: string) {
    this.drive = drive;
    this.#serial = serial;
    this.features =
      FEATURE_SEGMENTS_MAX |
      FEATURE_GEOMETRY |
      FEATURE_BLOCK_SIZE |
      FEATURE_FLUSH |
      FEATURE_ANY_LAYOUT |
      (drive.isReadOnly ? FEATURE_READ_ONLY : 0);
    this.#fillConfig();
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  readConfig(offset: number): number {
    return this.#config[offset]!;
  }

  writeConfig(): void {}

  onNotify(index: number): void {
    const isRoom = () => this.#inFlightBytes < IN_FLIGHT_BYTES_MAX;
    const queue = this.#device.queues[index]!;
    for (let left = queue.state.size; left > 0 && isRoom(); left--) {
      const chain = queue.pop();
      if (chain === undefined) return;
      this.#begin(chain);
    }
  }

  reset(): void {
    this.drive.cancel();
    this.#inFlightBytes = 0;
  }

  /**
   * Requests that were under way are made again, in their order: each is the same twice as once.
   */
  onRestored(): void {
    this.reset();
    for (const chain of this.#device.chainsInFlight(0)) this.#begin(chain);
  }

  /** Section 5.2.4 "Device configuration layout". */
  #fillConfig(): void {
    const view = new DataView(this.#config.buffer);
    const { sectorCount } = this.drive;
    view.setUint32(0, sectorCount % 2 ** 32, true);
    view.setUint32(4, Math.floor(sectorCount / 2 ** 32), true);
    view.setUint32(12, SEGMENTS_MAX, true);
    const cylinders = Math.floor(sectorCount / (HEADS * SECTORS_PER_TRACK));
    view.setUint16(16, Math.min(cylinders, CYLINDERS_MAX), true);
    view.setUint8(18, HEADS);
    view.setUint8(19, SECTORS_PER_TRACK);
    view.setUint32(20, SECTOR_BYTES, true);
  }

  #begin(chain: VirtqueueChain): void {
    const { space } = this.#device;
    const header = new Uint8Array(HEADER_BYTES);
    const writableBytes = sizeOf(chain.writable);
    if (readBuffers(space, chain.readable, 0, header) < HEADER_BYTES || writableBytes === 0) {
      this.#device.break('a request has no room for its header or its status');
      return;
    }
    const view = new DataView(header.buffer);
    const sector = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
    switch (view.getUint32(0, true)) {
      case REQUEST_IN:
        this.#read(chain, sector, writableBytes - 1);
        break;
      case REQUEST_OUT:
        this.#write(chain, sector, sizeOf(chain.readable) - HEADER_BYTES);
        break;
      case REQUEST_FLUSH:
        this.drive.flush((error) => this.#end(chain, error, 0));
        break;
      case REQUEST_GET_ID:
        this.#identify(chain, writableBytes - 1);
        break;
      default:
        this.#finish(chain, RESULT_UNSUPPORTED, 0);
    }
  }

  #read(chain: VirtqueueChain, sector: number, sizeBytes: number): void {
    if (!this.#isPossible(sector, sizeBytes)) {
      this.#finish(chain, RESULT_ERROR, 0);
      return;
    }
    const bytes = new Uint8Array(sizeBytes);
    this.#inFlightBytes += sizeBytes;
    this.drive.read(sector, bytes, (error) => {
      this.#inFlightBytes -= sizeBytes;
      const isGood = error === undefined && !this.#device.isBroken;
      if (isGood) writeBuffers(this.#device.space, chain.writable, 0, bytes);
      this.#end(chain, error, isGood ? sizeBytes : 0);
    });
  }

  #write(chain: VirtqueueChain, sector: number, sizeBytes: number): void {
    if (!this.#isPossible(sector, sizeBytes)) {
      this.#finish(chain, RESULT_ERROR, 0);
      return;
    }
    const bytes = new Uint8Array(sizeBytes);
    readBuffers(this.#device.space, chain.readable, HEADER_BYTES, bytes);
    this.#inFlightBytes += sizeBytes;
    this.drive.write(sector, bytes, (error) => {
      this.#inFlightBytes -= sizeBytes;
      // A driver that cannot flush has no write cache (section 5.2.6.2).
      if (error !== undefined || this.#device.hasFeature(FEATURE_FLUSH)) this.#end(chain, error, 0);
      else this.drive.flush((flushError) => this.#end(chain, flushError, 0));
    });
  }

  #identify(chain: VirtqueueChain, sizeBytes: number): void {
    const id = new Uint8Array(Math.min(ID_BYTES, sizeBytes));
    for (let i = 0; i < id.length; i++) id[i] = this.#serial.charCodeAt(i) || 0;
    writeBuffers(this.#device.space, chain.writable, 0, id);
    this.#finish(chain, RESULT_OK, id.length);
  }

  #isPossible(sector: number, sizeBytes: number): boolean {
    if (sizeBytes % SECTOR_BYTES !== 0 || sizeBytes > REQUEST_BYTES_MAX) return false;
    return sector + sizeBytes / SECTOR_BYTES <= this.drive.sectorCount;
  }

  #end(chain: VirtqueueChain, error: BlockError | undefined, writtenBytes: number): void {
    this.#finish(chain, error === undefined ? RESULT_OK : RESULT_ERROR, writtenBytes);
    this.#device.notify(0); // What had to wait for room.
  }

  /** Writes the status behind everything else. */
  #finish(chain: VirtqueueChain, result: number, writtenBytes: number): void {
    if (this.#device.isBroken) return;
    const at = sizeOf(chain.writable) - 1;
    writeBuffers(this.#device.space, chain.writable, at, Uint8Array.of(result));
    // What is said to be written is so from the first byte on, without a gap before the status.
    this.#device.complete(0, chain, writtenBytes === at ? at + 1 : writtenBytes);
  }
}
