// `push` and `pull`: snapshots to and from any OCI registry. What is there already is not
// sent, so a transfer that was cut off goes on where it was: by blob, and inside a large
// one that was on its way. OCI distribution specification 1.1, "Pushing blobs", "Pushing
// a blob in chunks", "Mounting a blob".

import { createHash } from 'node:crypto';
import { readFile, unlink, writeFile } from 'node:fs/promises';
import { checkDigest } from '../../snapshot/digest.ts';
import { BLOB_BYTES_MAX, MANIFEST_BYTES_MAX } from '../../snapshot/limits.ts';
import {
  blobsOf,
  type Descriptor,
  decodeManifest,
  MANIFEST_TYPE,
} from '../../snapshot/manifest.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import type { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import { RegistryClient, type RegistryOptions } from './registry-client.ts';
import type { RegistryReference } from './registry-reference.ts';

/** How far a transfer is. */
export interface TransferProgress {
  readonly doneBlobs: number;
  readonly blobCount: number;
  /** Sent or received now; what was there already is not counted. */
  readonly movedBytes: number;
}

export interface TransferOptions extends RegistryOptions {
  readonly onProgress?: (progress: TransferProgress) => void;
  /** Bytes of one chunk of an upload. */
  readonly chunkBytes?: number;
  /** Repositories of the same registry that may have some of the blobs. */
  readonly mountFrom?: readonly string[];
}

/** What was moved. */
export interface TransferReport {
  readonly manifest: Descriptor;
  readonly movedBlobs: number;
  readonly movedBytes: number;
  /** Blobs that were there already. */
  readonly presentBlobs: number;
}

const CHUNK_BYTES = 8 * 2 ** 20;
const AT_ONCE = 4;
const PULL_TRIES = 4;
const UPLOAD_RECORD_BYTES_MAX = 64 * 1024;

/**
 * Sends a snapshot to a registry; the manifest goes last, so that nobody can pull half of it.
 * @throws {SnapshotError} `REGISTRY`, `UNAUTHORIZED`; run it again to go on
 */
export async function push(
  store: DirectoryStore,
  tag: string,
  to: RegistryReference,
  options: TransferOptions = {},
): Promise<TransferReport> {
  const manifest = await store.resolve(tag);
  const bytes = await store.getBlob(manifest);
  const blobs = blobsOf(decodeManifest(bytes, tag));
  const upload = new Upload(store, new RegistryClient(to, options), options);
  const moved = await transfer(blobs, options, (blob) => upload.send(blob));
  await upload.client.send({
    method: 'PUT',
    path: `manifests/${to.tag ?? manifest.digest}`,
    headers: { 'content-type': MANIFEST_TYPE },
    body: bytes,
    expect: [201],
  });
  return { manifest, ...moved };
}

/**
 * Fetches a snapshot from a registry and lets `tag` name it. Each blob is
 * verified before it is kept.
 * @throws {SnapshotError} `REGISTRY`, `UNAUTHORIZED`, `CORRUPT`, `NOT_A_SNAPSHOT`
 */
export async function pull(
  store: DirectoryStore,
  tag: string,
  from: RegistryReference,
  options: TransferOptions = {},
): Promise<TransferReport> {
  const client = new RegistryClient(from, options);
  const response = await client.send({
    method: 'GET',
    path: `manifests/${from.digest ?? from.tag}`,
    headers: { accept: MANIFEST_TYPE },
    expect: [200],
  });
  const bytes = await client.body(response, MANIFEST_BYTES_MAX);
  if (from.digest !== undefined)
    await checkDigest(NODE_PLATFORM, { digest: from.digest, size: bytes.length }, bytes);
  const blobs = blobsOf(decodeManifest(bytes, `${from.host}/${from.repository}`));
  const { signal } = options;
  const writer = await store.openWriter();
  try {
    const moved = await transfer(blobs, options, async (blob) => {
      if (await store.has(blob)) return 0;
      if (blob.size > BLOB_BYTES_MAX)
        throw new SnapshotError('TOO_LARGE', `Cannot pull blob "${blob.digest}": it is too large`);
      const content = download(client, blob);
      await writer.putBlob(blob, content, signal === undefined ? {} : { signal });
      return blob.size;
    });
    return { manifest: await writer.putManifest(tag, bytes), ...moved };
  } finally {
    await writer.close();
  }
}

/** Moves blobs, a few at once. @param move how many bytes it moved; 0 if it was there */
async function transfer(
  blobs: readonly Descriptor[],
  options: TransferOptions,
  move: (blob: Descriptor) => Promise<number>,
): Promise<Pick<TransferReport, 'movedBlobs' | 'movedBytes' | 'presentBlobs'>> {
  const queue = [...blobs];
  let doneBlobs = 0;
  let movedBlobs = 0;
  let movedBytes = 0;
  let failure: unknown;
  const work = async (): Promise<void> => {
    for (;;) {
      const blob = failure === undefined ? queue.shift() : undefined;
      if (blob === undefined) return;
      try {
        options.signal?.throwIfAborted();
        const bytes = await move(blob);
        doneBlobs++;
        if (bytes > 0) movedBlobs++;
        movedBytes += bytes;
        options.onProgress?.({ doneBlobs, blobCount: blobs.length, movedBytes });
      } catch (error) {
        failure ??= error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (failure !== undefined) throw failure;
  return { movedBlobs, movedBytes, presentBlobs: doneBlobs - movedBlobs };
}

/** A blob's bytes; a connection that drops is taken up at the byte where it did. */
async function* download(client: RegistryClient, blob: Descriptor): AsyncGenerator<Uint8Array> {
  const { digest, size } = blob;
  let received = 0;
  for (let attempt = 1; ; attempt++) {
    const response = await client.send({
      method: 'GET',
      path: `blobs/${digest}`,
      headers: received === 0 ? {} : { range: `bytes=${received}-` },
      expect: [200, 206],
    });
    // Not every registry does ranges: what we have is skipped then.
    let skip = response.status === 200 ? received : 0;
    try {
      for await (const part of response.body ?? []) {
        const piece = (part as Uint8Array).subarray(Math.min(skip, (part as Uint8Array).length));
        skip -= (part as Uint8Array).length - piece.length;
        if (piece.length === 0) continue;
        received += piece.length;
        yield piece;
        if (received > size) return; // The store says that it is too long.
      }
    } catch (cause) {
      if (attempt >= PULL_TRIES || (cause as Error).name === 'AbortError')
        throw new SnapshotError('REGISTRY', `Cannot pull blob "${digest}": the connection broke`, {
          subject: digest,
          cause,
        });
      continue;
    }
    if (received >= size || attempt >= PULL_TRIES) return;
  }
}

/** Sends blobs of one snapshot. */
class Upload {
  readonly client: RegistryClient;
  readonly #store: DirectoryStore;
  readonly #options: TransferOptions;

  constructor(store: DirectoryStore, client: RegistryClient, options: TransferOptions) {
    this.#store = store;
    this.client = client;
    this.#options = options;
    for (const repository of options.mountFrom ?? []) client.alsoRead(repository);
  }

  /** Bytes sent; 0 if the registry has the blob. */
  async send(blob: Descriptor): Promise<number> {
    const { digest, size } = blob;
    const head = await this.client.send({
      method: 'HEAD',
      path: `blobs/${digest}`,
      expect: [200, 404],
    });
    if (head.status === 200) return 0;
    const chunkBytes = this.#options.chunkBytes ?? CHUNK_BYTES;
    const record = this.#recordPath(blob);
    let session = await this.#resume(record);
    if (session === undefined) {
      const location = await this.#start(blob);
      if (location === undefined) return 0; // It was mounted from another repository.
      session = { location, offset: 0 };
    }
    if (session.offset > size) session = { location: (await this.#start(blob))!, offset: 0 };
    const isSmall = session.offset === 0 && size <= chunkBytes;
    const sent = size - session.offset;
    if (isSmall) await this.#finish(blob, session.location, await this.#store.getBlob(blob));
    else await this.#sendChunks(blob, session.location, session.offset, chunkBytes, record);
    return Math.max(sent, 1);
  }

  /** Where to upload to; undefined if a mount made that needless. */
  async #start({ digest }: Descriptor): Promise<string | undefined> {
    for (const from of this.#options.mountFrom ?? []) {
      const query = new URLSearchParams({ mount: digest, from });
      const answer = await this.client.send({
        method: 'POST',
        path: `blobs/uploads/?${query}`,
        headers: { 'content-length': '0' },
        expect: [201, 202],
      });
      await answer.body?.cancel();
      if (answer.status === 201) return undefined;
      return this.#locationOf(answer); // An upload was opened instead: it will do.
    }
    const answer = await this.client.send({
      method: 'POST',
      path: 'blobs/uploads/',
      headers: { 'content-length': '0' },
      expect: [202],
    });
    await answer.body?.cancel();
    return this.#locationOf(answer);
  }

  async #sendChunks(
    blob: Descriptor,
    start: string,
    offset: number,
    chunkBytes: number,
    record: string,
  ): Promise<void> {
    let location = start;
    const pieces = this.#chunks(blob, offset, chunkBytes);
    for await (const { at, bytes } of pieces) {
      await writeFile(record, location);
      const answer = await this.client.send({
        method: 'PATCH',
        path: location,
        headers: {
          'content-type': 'application/octet-stream',
          'content-range': `${at}-${at + bytes.length - 1}`,
        },
        body: bytes,
        expect: [202],
      });
      await answer.body?.cancel();
      location = this.#locationOf(answer);
    }
    await writeFile(record, location);
    try {
      await this.#finish(blob, location, undefined);
    } finally {
      await unlink(record).catch(() => {}); // Done, or refused for good: the next push starts anew.
    }
  }

  async *#chunks(
    blob: Descriptor,
    offset: number,
    chunkBytes: number,
  ): AsyncGenerator<{ at: number; bytes: Uint8Array }> {
    let waiting = new Uint8Array(chunkBytes);
    let filled = 0;
    let at = offset;
    for await (const piece of this.#store.streamBlob(blob, offset)) {
      for (let done = 0; done < piece.length; ) {
        const count = Math.min(chunkBytes - filled, piece.length - done);
        waiting.set(piece.subarray(done, done + count), filled);
        filled += count;
        done += count;
        if (filled < chunkBytes) continue;
        yield { at, bytes: waiting };
        at += filled;
        waiting = new Uint8Array(chunkBytes);
        filled = 0;
      }
    }
    if (filled > 0) yield { at, bytes: waiting.subarray(0, filled) };
  }

  async #finish({ digest }: Descriptor, location: string, body: Uint8Array | undefined) {
    const url = new URL(location, this.client.reference.origin);
    url.searchParams.set('digest', digest);
    const answer = await this.client.send({
      method: 'PUT',
      path: url.href,
      headers:
        body === undefined
          ? { 'content-length': '0' }
          : { 'content-type': 'application/octet-stream' },
      ...(body === undefined ? {} : { body }),
      expect: [201, 204],
    });
    await answer.body?.cancel();
  }

  /** An upload that an earlier push left, and how much of it the registry has. */
  async #resume(record: string): Promise<{ location: string; offset: number } | undefined> {
    let location: string;
    try {
      location = (await readFile(record, 'utf8')).slice(0, UPLOAD_RECORD_BYTES_MAX);
      if (new URL(location).origin !== this.client.reference.origin) return undefined;
    } catch {
      return undefined;
    }
    const answer = await this.client.send({ method: 'GET', path: location, expect: [204, 404] });
    await answer.body?.cancel();
    const range = /^(?:bytes=)?0-(\d+)$/.exec(answer.headers.get('range') ?? '');
    if (answer.status !== 204) {
      await unlink(record).catch(() => {});
      return undefined;
    }
    // "0-0" is what registries answer for one byte and for none: the start is always right.
    const last = Number(range?.[1] ?? 0);
    if (last === 0) return undefined;
    return { location: this.#locationOf(answer), offset: last + 1 };
  }

  #recordPath({ digest }: Descriptor): string {
    const { origin, repository } = this.client.reference;
    const key = createHash('sha256').update(`${origin} ${repository} ${digest}`).digest('hex');
    return this.#store.uploadsPath(key);
  }

  #locationOf(answer: Response): string {
    const location = answer.headers.get('location');
    if (location === null)
      throw new SnapshotError(
        'REGISTRY',
        'Cannot upload as the registry must say where: no Location',
      );
    return new URL(location, this.client.reference.origin).href;
  }
}
