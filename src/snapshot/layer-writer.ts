// Puts the blobs of one snapshot into a store: compressed where that wins something, and counted.

import { type Compression, digestOf, type SnapshotPlatform } from './digest.ts';
import { type LayerDescriptor, layerDescriptor } from './manifest.ts';
import type { CancelSignal, SnapshotStoreWriter } from './store.ts';

/**
 * A compressed blob must be smaller than this part of the plain one, or it is not worth undoing.
 */
const COMPRESSED_PART_MAX = 15 / 16;

/** How blobs are written. */
export interface LayerWriterOptions {
  readonly compression?: Compression;
  readonly signal?: CancelSignal;
}

export class LayerWriter {
  readonly #writer: SnapshotStoreWriter;
  readonly #platform: SnapshotPlatform;
  readonly #options: LayerWriterOptions;
  #writtenBytes = 0;

  constructor(
    writer: SnapshotStoreWriter,
    platform: SnapshotPlatform,
    options: LayerWriterOptions,
  ) {
    this.#writer = writer;
    this.#platform = platform;
    this.#options = options;
  }

  /** Bytes that the store did not have, as stored. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Puts a blob of `type`, as it is if it may not be compressed. @throws {SnapshotError} `IO` */
  async put(type: string, raw: Uint8Array, mayCompress = true): Promise<LayerDescriptor> {
    const { compression, signal } = this.#options;
    signal?.throwIfAborted();
    let stored = raw;
    let suffix: string | undefined;
    if (compression !== undefined && mayCompress) {
      const smaller = await compression.compress(raw);
      if (smaller.length < raw.length * COMPRESSED_PART_MAX) {
        stored = smaller;
        suffix = compression.suffix;
      }
    }
    const digest = await digestOf(this.#platform, stored);
    const layer = layerDescriptor(type, {
      digest,
      size: stored.length,
      rawSize: raw.length,
      compression: suffix,
    });
    const isNew = await this.#writer.putBlob(layer, stored, {
      ...(signal === undefined ? {} : { signal }),
      isHashed: true,
    });
    if (isNew) this.#writtenBytes += stored.length;
    return layer;
  }
}
