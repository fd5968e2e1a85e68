// Blobs into a registry: what is there is not sent, and an upload that was cut off goes on where it
// was, in a later process too. OCI distribution specification 1.1, "Pushing blobs", "Pushing a blob
// in chunks", "Mounting a blob".

import { createHash } from 'node:crypto';
import { readFile, unlink, writeFile } from 'node:fs/promises';
import type { Descriptor } from '../../snapshot/manifest.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import type { DirectoryStore } from './directory-store.ts';
import type { RegistryClient, RegistryOptions } from './registry-client.ts';

/** How blobs are sent. */
export interface UploadOptions extends RegistryOptions {
  /** Bytes of one chunk of an upload. */
  readonly chunkBytes?: number;
  /** Repositories of the same registry that may have some of the blobs. */
  readonly mountFrom?: readonly string[];
}

const CHUNK_BYTES = 8 * 2 ** 20;
const UPLOAD_RECORD_BYTES_MAX = 64 * 1024;

/** Sends blobs of one snapshot. */
export class Upload {
  readonly client: RegistryClient;
  readonly #store: DirectoryStore;
  readonly #options: UploadOptions;

  constructor(store: DirectoryStore, client: RegistryClient, options: UploadOptions) {
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
