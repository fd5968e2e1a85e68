// Windows on a domain's frames that no block of ours holds: memory that the toolstack gave it.
// Whole buckets are mapped at once, the least recently used goes when there are too many, and one
// that a device holds stays.

import { PAGE_SIZE } from '../../base/pages.ts';
import type { XenDriver, XenForeignPages } from './xen-driver.ts';

/** Pages of a bucket: 1 MiB, so that neighbours come with one hypercall. */
const BUCKET_PAGES = 256;
const BUCKET_BYTES = BUCKET_PAGES * PAGE_SIZE;

interface Bucket {
  readonly pages: XenForeignPages;
  lockCount: number;
}

/** A view that stays mapped until it is released. */
export interface XenLock {
  readonly bytes: Uint8Array;
  /** Call it once. */
  release(): void;
}

/** Foreign pages, by guest-physical address. */
export class XenMapCache {
  readonly #driver: XenDriver;
  readonly #bucketCountMax: number;
  /** By number of the bucket; the least recently used first. */
  readonly #buckets = new Map<number, Bucket>();

  /** @param bucketCountMax how many may be mapped that nobody has locked */
  constructor(driver: XenDriver, bucketCountMax = 64) {
    this.#driver = driver;
    this.#bucketCountMax = bucketCountMax;
  }

  get bucketCount(): number {
    return this.#buckets.size;
  }

  /**
   * Bytes from `gpa` on, at most `mostBytes`, fewer at the end of a bucket or of what is there.
   * They are valid until the next call of any method; undefined if no page is there.
   */
  view(gpa: number, mostBytes: number): Uint8Array | undefined {
    return this.#view(gpa, mostBytes)?.bytes;
  }

  /** As `view`, but the bytes stay until they are released: for DMA that takes its time. */
  lock(gpa: number, mostBytes: number): XenLock | undefined {
    const found = this.#view(gpa, mostBytes);
    if (found === undefined) return undefined;
    const { bucket, bytes } = found;
    bucket.lockCount++;
    return { bytes, release: () => this.#release(bucket) };
  }

  /**
   * Forgets what is mapped of a range whose pages have changed, as after a balloon.
   * A bucket that somebody has locked is mapped anew for others.
   */
  invalidate(gpa: number, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    const first = Math.floor(gpa / BUCKET_BYTES);
    const count = Math.floor(((gpa % BUCKET_BYTES) + (sizeBytes - 1)) / BUCKET_BYTES) + 1;
    for (const [index, bucket] of this.#buckets)
      if (index >= first && index - first < count) this.#drop(index, bucket);
  }

  #view(gpa: number, mostBytes: number): { bucket: Bucket; bytes: Uint8Array } | undefined {
    const offset = gpa % BUCKET_BYTES;
    const bucket = this.#bucket(Math.floor(gpa / BUCKET_BYTES));
    const { bytes, isPresent } = bucket.pages;
    const end = Math.min(BUCKET_BYTES, offset + mostBytes);
    let at = offset;
    while (at < end && isPresent[Math.floor(at / PAGE_SIZE)] !== 0)
      at += PAGE_SIZE - (at % PAGE_SIZE);
    if (at === offset) return undefined;
    return { bucket, bytes: bytes.subarray(offset, Math.min(at, end)) };
  }

  #bucket(index: number): Bucket {
    const found = this.#buckets.get(index);
    // The order of a Map is that of insertion.
    this.#buckets.delete(index);
    const bucket = found ?? {
      pages: this.#driver.map(index * BUCKET_PAGES, BUCKET_PAGES),
      lockCount: 0,
    };
    this.#buckets.set(index, bucket);
    let free = [...this.#buckets.values()].filter(({ lockCount }) => lockCount === 0).length;
    for (const [oldIndex, old] of this.#buckets) {
      if (free <= this.#bucketCountMax) break;
      if (old.lockCount > 0 || old === bucket) continue;
      this.#drop(oldIndex, old);
      free--;
    }
    return bucket;
  }

  #drop(index: number, bucket: Bucket): void {
    this.#buckets.delete(index);
    if (bucket.lockCount === 0) this.#driver.unmap(bucket.pages);
  }

  #release(bucket: Bucket): void {
    bucket.lockCount--;
    const isKnown = [...this.#buckets.values()].includes(bucket);
    if (bucket.lockCount === 0 && !isKnown) this.#driver.unmap(bucket.pages);
  }
}
