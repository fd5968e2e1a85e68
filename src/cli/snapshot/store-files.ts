// Files of a store, written so that a kill at any moment leaves the old one or the new one: aside,
// synced, renamed, and the folder synced when it counts.

import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestOfBytes } from '../../snapshot/digest.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import type { BlobKey, PutOptions } from '../../snapshot/store.ts';

/** What a store is about to do: tests fail it, or write the order down. */
export type StoreStep = 'create' | 'write' | 'sync' | 'rename' | 'sync-folder' | 'remove';

/** Called before each step; what it throws, the step throws. */
export type StepHook = (step: StoreStep, path: string) => void;

/** Our own files beside OCI's. */
export const OWN_FOLDER = '.quire';
/** Files being written, each named after its writer. */
export const STAGING_FOLDER = join(OWN_FOLDER, 'staging');
/** One file for each open writer. */
export const WRITERS_FOLDER = join(OWN_FOLDER, 'writers');
/** Where uploads that were cut off go on. */
export const UPLOADS_FOLDER = join(OWN_FOLDER, 'uploads');
export const BLOBS_FOLDER = join('blobs', 'sha256');

/** What the host said, as a `SnapshotError`; one of ours stays what it is. */
export function hostError(action: string, subject: string, cause: unknown): Error {
  const { code, message } = cause as NodeJS.ErrnoException;
  // Ours, a programmer's, or the reason of an AbortSignal: none of them is the host's.
  if (typeof code !== 'string' || cause instanceof SnapshotError) return cause as Error;
  const why =
    code === 'ENOSPC'
      ? 'no space is left on the device'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? `there is no permission (${code})`
        : message;
  return new SnapshotError('IO', `Cannot ${action} "${subject}": ${why}`, { subject, cause });
}

/** The files of one store. */
export class StoreFiles {
  readonly path: string;
  readonly #hook: StepHook;

  constructor(path: string, hook: StepHook = () => {}) {
    this.path = path;
    this.#hook = hook;
  }

  at(...parts: readonly string[]): string {
    return join(this.path, ...parts);
  }

  blobPath(digest: Digest): string {
    return this.at(BLOBS_FOLDER, digest.slice('sha256:'.length));
  }

  async makeFolders(): Promise<void> {
    for (const folder of [BLOBS_FOLDER, STAGING_FOLDER, WRITERS_FOLDER, UPLOADS_FOLDER])
      await mkdir(this.at(folder), { recursive: true });
  }

  /** Size of a file in bytes; undefined if it is not there. */
  async size(path: string): Promise<number | undefined> {
    try {
      return (await stat(path)).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw hostError('look at', path, error);
    }
  }

  /** All of a file that is at most `bytesMax` long; undefined if it is not there. */
  async read(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const size = await this.size(path);
    if (size === undefined) return undefined;
    if (size > bytesMax)
      throw new SnapshotError(
        'TOO_LARGE',
        `Cannot read "${path}" as it must have at most ${bytesMax} bytes: it has ${size}`,
        { subject: path },
      );
    try {
      const bytes = await readFile(path);
      return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw hostError('read', path, error);
    }
  }

  /**
   * Reads a file into `target`, if that has its size. The size of the file; undefined if it is not
   * there.
   */
  async readInto(path: string, target: Uint8Array): Promise<number | undefined> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'r');
      const { size } = await handle.stat();
      if (size !== target.length) return size;
      for (let done = 0; done < size; ) {
        const { bytesRead } = await handle.read(target, done, size - done, done);
        if (bytesRead === 0) return done; // Somebody cuts it off meanwhile.
        done += bytesRead;
      }
      return size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw hostError('read', path, error);
    } finally {
      await handle?.close();
    }
  }

  /** Writes a small file in one step: whoever reads it finds the old bytes or the new ones. */
  async replace(path: string, bytes: Uint8Array, folder: string, owner: string): Promise<void> {
    await this.#aside(owner, async (aside, handle) => {
      this.#hook('write', aside);
      await handle.writeFile(bytes);
      await this.#seal(handle, aside, path);
    });
    await this.syncFolder(folder);
  }

  /**
   * Writes a blob aside, compares it with its digest, syncs it and gives it its name. The folder is
   * not synced: `putManifest` does it once for all blobs.
   */
  async putBlob(
    key: BlobKey,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options: PutOptions,
    owner: string,
  ): Promise<void> {
    const { digest, size } = key;
    await this.#aside(owner, async (aside, handle) => {
      const hash = createHash('sha256');
      let written = 0;
      const write = async (piece: Uint8Array): Promise<void> => {
        options.signal?.throwIfAborted();
        if (written + piece.length > size) throw wrongSize(key, 'more come');
        if (options.isHashed !== true) hash.update(piece);
        this.#hook('write', aside);
        for (let done = 0; done < piece.length; )
          done += (await handle.write(piece, done)).bytesWritten;
        written += piece.length;
      };
      if (content instanceof Uint8Array) await write(content);
      else for await (const piece of content) await write(piece);
      if (written !== size) throw wrongSize(key, `${written} came`);
      const found = options.isHashed === true ? digest : digestOfBytes(hash.digest());
      if (found !== digest)
        throw new SnapshotError(
          'CORRUPT',
          `Cannot keep blob "${digest}" as its bytes must have that digest: they have "${found}"`,
          { subject: digest },
        );
      await this.#seal(handle, aside, this.blobPath(digest));
    });
  }

  async remove(path: string): Promise<void> {
    this.#hook('remove', path);
    await unlink(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw hostError('remove', path, error);
    });
  }

  /** Makes the names in a folder survive a loss of power. */
  async syncFolder(folder: string): Promise<void> {
    const path = this.at(folder);
    this.#hook('sync-folder', path);
    try {
      const handle = await open(path, 'r');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      // Not every system can sync a folder; those that cannot do not need it.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EISDIR' && code !== 'EPERM' && code !== 'EINVAL')
        throw hostError('sync', path, error);
    }
  }

  /** Runs `fill` with a new file beside, which is gone afterwards unless it was renamed. */
  async #aside(
    owner: string,
    fill: (aside: string, handle: FileHandle) => Promise<void>,
  ): Promise<void> {
    const aside = this.at(STAGING_FOLDER, `${owner}-${randomUUID()}`);
    let handle: FileHandle | undefined;
    try {
      this.#hook('create', aside);
      handle = await open(aside, 'wx');
      await fill(aside, handle);
    } catch (error) {
      await handle?.close().catch(() => {});
      await unlink(aside).catch(() => {});
      throw hostError('write', aside, error);
    }
  }

  async #seal(handle: FileHandle, aside: string, path: string): Promise<void> {
    this.#hook('sync', aside);
    await handle.sync();
    await handle.close();
    this.#hook('rename', path);
    await rename(aside, path);
  }
}

function wrongSize({ digest, size }: BlobKey, found: string): SnapshotError {
  return new SnapshotError(
    'CORRUPT',
    `Cannot keep blob "${digest}" as it must have ${size} bytes: ${found}`,
    { subject: digest },
  );
}
