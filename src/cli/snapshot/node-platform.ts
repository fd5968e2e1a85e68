// SHA-256, zstd and the time, for snapshots on Node.

import { createHash } from 'node:crypto';
import * as zlib from 'node:zlib';
import type { Compression, SnapshotPlatform } from '../../snapshot/digest.ts';
import { frameContentSize } from './zstd-frame.ts';

/** The level at which zstd keeps up with a disk; docs/snapshot-format.md, "Chosen". */
const LEVEL = 1;

/** node:zlib's zstd, there from Node 22.15 on; the types of Node 20 do not know it. */
interface ZstdZlib {
  zstdCompressSync?(bytes: Uint8Array, options: object): Uint8Array;
  zstdDecompressSync?(bytes: Uint8Array, options: object): Uint8Array;
  constants: { ZSTD_c_compressionLevel?: number };
}

type Codec = Pick<Compression, 'compress' | 'decompress'>;

let loading: Promise<Codec> | undefined;
let loaded: Codec | undefined;

/** Loads zstd, so that `ZSTD` answers at once from then on. */
export async function loadZstd(): Promise<void> {
  loading ??= codec();
  loaded = await loading;
}

/** A Buffer's `slice` is no copy, and the core counts on one. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The host's own zstd, or one in WebAssembly, loaded when first needed. */
async function codec(): Promise<Codec> {
  const { zstdCompressSync, zstdDecompressSync, constants } = zlib as unknown as ZstdZlib;
  if (zstdCompressSync !== undefined && zstdDecompressSync !== undefined) {
    const params = { [constants.ZSTD_c_compressionLevel!]: LEVEL };
    return {
      compress: (bytes) => plain(zstdCompressSync(bytes, { params })),
      decompress: (bytes, sizeBytes) =>
        plain(zstdDecompressSync(bytes, { maxOutputLength: sizeBytes })),
    };
  }
  const zstd = await import('@bokuweb/zstd-wasm');
  await zstd.init();
  return {
    compress: (bytes) => zstd.compress(bytes, LEVEL),
    decompress: (bytes) => zstd.decompress(bytes),
  };
}

/**
 * Zstandard, RFC 8878. A frame must state its size: what it says is checked before it is undone.
 */
export const ZSTD: Compression = {
  suffix: 'zstd',
  compress(bytes) {
    if (loaded !== undefined) return loaded.compress(bytes);
    return loadZstd().then(() => loaded!.compress(bytes));
  },
  decompress(bytes, sizeBytes) {
    const stated = frameContentSize(bytes);
    if (stated !== sizeBytes)
      throw new Error(`its frame must state ${sizeBytes} bytes, it states ${stated ?? 'none'}`);
    if (sizeBytes === 0) return new Uint8Array(0);
    if (loaded !== undefined) return loaded.decompress(bytes, sizeBytes);
    return loadZstd().then(() => loaded!.decompress(bytes, sizeBytes));
  },
};

/** Snapshots on Node. */
export const NODE_PLATFORM: SnapshotPlatform = {
  sha256: (bytes) => createHash('sha256').update(bytes).digest(),
  compressions: [ZSTD],
  nowMs: () => Date.now(),
};
