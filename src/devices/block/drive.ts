// A drive as a storage chip has it: a place for a medium, and requests whose ends come back in
// virtual time, between two guest instructions, in the order in which they were made.
//
// A chip keeps what it asked for in its saved state and asks again after a restore, for a request
// under way is the host's and is not saved. A paused machine's time stands
// still, so no request ends in it.

import type { VirtualClock, VirtualTimer } from '../../base/device.ts';
import { floppyGeometry } from '../floppy-media.ts';
import type { BlockDevice, BlockDone, BlockError } from './block-device.ts';

export type DriveMedia = 'disk' | 'cdrom' | 'floppy';

interface Request {
  readonly done: BlockDone;
  isEnded: boolean;
  isCancelled: boolean;
  error: BlockError | undefined;
}

/** What a drive is, and who keeps its medium. */
export interface DriveOptions {
  /** QEMU's name, such as `ide0-hd0`, `ide1-cd0`, `floppy0`, `virtio0`. */
  readonly id: string;
  readonly media: DriveMedia;
  readonly clock: VirtualClock;
  readonly medium?: BlockDevice;
}

export class Drive {
  readonly id: string;
  readonly media: DriveMedia;
  // Wiring, set once by the machine and the chip.
  /** A request was made: the machine should soon give the host a turn. */
  onRequest: () => void = () => {};
  /** A request ended: the machine must not sleep on. */
  onEnd: () => void = () => {};
  /** The medium was changed, by whoever; the drive has the new one. */
  onMediumChange: () => void = () => {};
  /** Whether the guest holds the medium in the drive; the chip's answer. */
  isLocked: () => boolean = () => false;
  readonly #clock: VirtualClock;
  readonly #timer: VirtualTimer;
  #medium: BlockDevice | undefined;
  #requests: Request[] = [];

  /** @throws {RangeError} as `change` does */
  constructor(options: DriveOptions) {
    this.id = options.id;
    this.media = options.media;
    this.#checkSize(options.medium);
    this.#medium = options.medium;
    this.#clock = options.clock;
    this.#timer = options.clock.createTimer(() => this.#deliver());
  }

  /** What is in it. */
  get medium(): BlockDevice | undefined {
    return this.#medium;
  }

  get isRemovable(): boolean {
    return this.media !== 'disk';
  }

  get isReadOnly(): boolean {
    return this.media === 'cdrom' || (this.#medium?.isReadOnly ?? false);
  }

  /** Whole 512-byte sectors; 0 without a medium. */
  get sectorCount(): number {
    return Math.floor((this.#medium?.sizeBytes ?? 0) / 512);
  }

  /** Requests that have not come back. */
  get pendingCount(): number {
    return this.#requests.length;
  }

  /**
   * Puts a medium in, or takes it out. The old one is closed when its requests are done.
   * @throws {RangeError} if the drive is not removable, or the medium larger than any floppy disk
   */
  change(medium: BlockDevice | undefined): void {
    if (!this.isRemovable)
      throw new RangeError(`Cannot change medium of "${this.id}" as it must be removable`);
    this.#checkSize(medium);
    const old = this.#medium;
    this.#medium = medium;
    if (old !== medium) old?.close();
    this.onMediumChange();
  }

  #checkSize(medium: BlockDevice | undefined): void {
    if (this.media !== 'floppy' || medium === undefined) return;
    if (floppyGeometry(medium.sizeBytes) === undefined)
      throw new RangeError(
        `Cannot put "${medium.label}" into drive "${this.id}" as a floppy disk must not be ` +
          `larger than 2.88 MB: it has ${medium.sizeBytes} bytes`,
      );
  }

  /** Lets go of the medium, for ever. Requests under way never come back. */
  close(): void {
    this.cancel();
    this.#medium?.close();
    this.#medium = undefined;
  }

  /** Fills `bytes` from the medium; `done` comes later, never from inside this call. */
  read(sector: number, bytes: Uint8Array, done: BlockDone): void {
    this.#request(done, (medium, end) => medium.read(sector, bytes, end));
  }

  /** `bytes` must not change until `done`. */
  write(sector: number, bytes: Uint8Array, done: BlockDone): void {
    this.#request(done, (medium, end) => {
      if (this.isReadOnly) end('EROFS');
      else medium.write(sector, bytes, end);
    });
  }

  flush(done: BlockDone): void {
    this.#request(done, (medium, end) => medium.flush(end));
  }

  /**
   * Forgets who waits: for resets, and before a restore. What was begun takes effect all the same.
   */
  cancel(): void {
    for (const request of this.#requests) request.isCancelled = true;
    this.#requests = [];
    this.#timer.cancel();
  }

  #request(done: BlockDone, begin: (medium: BlockDevice, end: BlockDone) => void): void {
    const request: Request = { done, isEnded: false, isCancelled: false, error: undefined };
    this.#requests.push(request);
    const end: BlockDone = (error) => {
      if (request.isEnded || request.isCancelled) return;
      request.isEnded = true;
      request.error = error;
      if (this.#requests[0] !== request) return;
      this.#timer.arm(this.#clock.nowNs());
      this.onEnd();
    };
    if (this.#medium === undefined) end('ENOMEDIUM');
    else begin(this.#medium, end);
    this.onRequest();
  }

  #deliver(): void {
    const requests = this.#requests;
    // What a callback asks for now comes back another time, so that no chip can keep this busy.
    for (let rest = requests.length; rest > 0 && requests[0]?.isEnded; rest--) {
      const { done, error } = requests.shift()!;
      done(error);
      // A callback that cancelled has replaced the list.
      if (requests !== this.#requests) return;
    }
    if (requests[0]?.isEnded) this.#timer.arm(this.#clock.nowNs());
  }
}
