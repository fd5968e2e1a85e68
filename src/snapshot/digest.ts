// Digests in OCI's spelling, and what the host lends the core: SHA-256 and compression.
// OCI image specification 1.1, "Digests".

import { SnapshotError } from './snapshot-error.ts';

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** Bytes of a SHA-256. */
export const DIGEST_BYTES = 32;

/** A compression that the host knows, by its media type's suffix. */
export interface Compression {
  /** Behind the media type: `zstd` for `…+zstd`. */
  readonly suffix: string;
  compress(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /**
   * Undoes it. What comes out is exactly `sizeBytes` long, and no more is ever allocated.
   * @throws any error if the bytes are broken, or would come to another size
   */
  decompress(bytes: Uint8Array, sizeBytes: number): Uint8Array | Promise<Uint8Array>;
}

/** What snapshots need of the platform. */
export interface SnapshotPlatform {
  /** SHA-256, 32 bytes. `node:crypto` answers at once, WebCrypto later. */
  sha256(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Every compression that can be undone here. */
  readonly compressions: readonly Compression[];
  /** Milliseconds since 1970, for the time of creation. */
  nowMs(): number;
}

/** Whether `text` is a digest. */
export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && DIGEST.test(text);
}

/** The digest of 32 bytes. */
export function digestOfBytes(sha256: Uint8Array): Digest {
  let text = '';
  for (const byte of sha256) text += byte.toString(16).padStart(2, '0');
  return `sha256:${text}`;
}

/** The 32 bytes of a digest. */
export function bytesOfDigest(digest: Digest): Uint8Array {
  const bytes = new Uint8Array(DIGEST_BYTES);
  for (let i = 0; i < DIGEST_BYTES; i++)
    bytes[i] = Number.parseInt(digest.slice(7 + i * 2, 9 + i * 2), 16);
  return bytes;
}

/** Digest of `bytes`. */
export async function digestOf(platform: SnapshotPlatform, bytes: Uint8Array): Promise<Digest> {
  return digestOfBytes(await platform.sha256(bytes));
}

/**
 * Compares bytes with what is said of them.
 * @throws {SnapshotError} `CORRUPT` if size or digest differ
 */
export async function checkDigest(
  platform: SnapshotPlatform,
  expected: { readonly digest: Digest; readonly size: number },
  bytes: Uint8Array,
): Promise<void> {
  checkSize(expected, bytes);
  checkSum(expected.digest, await platform.sha256(bytes));
}

/**
 * The same at once.
 * @throws {SnapshotError} `CORRUPT`
 * @throws {TypeError} if this platform's SHA-256 answers later only
 */
export function checkDigestSync(
  platform: SnapshotPlatform,
  expected: { readonly digest: Digest; readonly size: number },
  bytes: Uint8Array,
): void {
  checkSize(expected, bytes);
  checkSum(expected.digest, atOnce(platform.sha256(bytes), 'SHA-256'));
}

/** @throws {TypeError} if `value` comes later */
export function atOnce<T>(value: T | Promise<T>, what: string): T {
  if (value instanceof Promise)
    throw new TypeError(`Cannot read a blob at once as ${what} must answer at once here`);
  return value;
}

function checkSize({ digest, size }: { digest: Digest; size: number }, bytes: Uint8Array): void {
  if (bytes.length === size) return;
  throw new SnapshotError(
    'CORRUPT',
    `Cannot use blob "${digest}" as it must have ${size} bytes: it has ${bytes.length}`,
    { subject: digest, offset: Math.min(size, bytes.length) },
  );
}

function checkSum(digest: Digest, sha256: Uint8Array): void {
  const found = digestOfBytes(sha256);
  if (found === digest) return;
  throw new SnapshotError(
    'CORRUPT',
    `Cannot use blob "${digest}" as its bytes must have that digest: they have "${found}"`,
    { subject: digest },
  );
}
