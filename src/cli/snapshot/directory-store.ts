// Snapshots in a folder that is an OCI image layout. Whatever happens to a writer (a kill, a full
// disk, another writer), what could be loaded before can be loaded after.
//
// Blobs are written aside, synced and renamed; a manifest's blobs are all there, and their folder
// synced, before `index.json` is replaced. Tags change under a lock, which is held for a moment
// only; `gc` holds it while it works, and is refused while a writer is open.

import { createReadStream, readFileSync, statSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import {
  blobsOfAttachment,
  decodeAttachment,
  findAttachment,
  soundAttachments,
  withAttachment,
  withoutOrphans,
} from '../../snapshot/attachment.ts';
import { checkDigest, checkDigestSync, type Digest, digestOf } from '../../snapshot/digest.ts';
import { BLOB_BYTES_MAX, MANIFEST_BYTES_MAX, TAGS_MAX } from '../../snapshot/limits.ts';
import { type Descriptor, MANIFEST_TYPE, namedBlobs } from '../../snapshot/manifest.ts';
import { reachableBlobs } from '../../snapshot/reachable.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import {
  type BlobKey,
  type CancelOptions,
  checkTag,
  type GCReport,
  missingBlob,
  type PutOptions,
  type SnapshotStore,
  type SnapshotStoreWriter,
  type TagEntry,
  unknownTag,
} from '../../snapshot/store.ts';
import { isAlive, ownHolder, type ProcessLock, readHolder, takeLock } from '../process-lock.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import {
  BLOBS_FOLDER,
  hostError,
  OWN_FOLDER,
  STAGING_FOLDER,
  type StepHook,
  StoreFiles,
  UPLOADS_FOLDER,
  WRITERS_FOLDER,
} from './store-files.ts';
import {
  checkLayout,
  decodeIndex,
  encodeIndex,
  encodeLayout,
  LAYOUT_BYTES_MAX,
  manifestDescriptor,
  STORE_INDEX_BYTES_MAX,
  type StoreIndex,
} from './store-index.ts';

/** How a store is opened. */
export interface DirectoryStoreOptions {
  /** Makes the store if the folder is not there or is empty; true by default. */
  readonly create?: boolean;
  /** How long to wait for another process that changes tags, ms; 10 s by default. */
  readonly lockTimeoutMs?: number;
  /** For tests. */
  readonly onStep?: StepHook;
}

const LOCK_TIMEOUT_MS = 10_000;
/** A blob of this size is read sooner than a thread is asked to, bytes. */
const AT_ONCE_BYTES = 128 * 1024;
const BLOB_NAME = /^[0-9a-f]{64}$/;
/** What a folder of ours may hold while it is being made. */
const OWN_NAMES = [OWN_FOLDER, 'blobs', 'index.json', 'oci-layout'];
const PIECE_BYTES = 2 ** 20;

export class DirectoryStore implements SnapshotStore {
  readonly path: string;
  readonly #files: StoreFiles;
  readonly #lockTimeoutMs: number;
  /** Blobs that this object has read or written, and were whole. */
  readonly #whole = new Set<Digest>();

  private constructor(path: string, files: StoreFiles, options: DirectoryStoreOptions) {
    this.path = path;
    this.#files = files;
    this.#lockTimeoutMs = options.lockTimeoutMs ?? LOCK_TIMEOUT_MS;
  }

  /**
   * Opens the store in a folder.
   * @throws {SnapshotError} `NOT_A_SNAPSHOT` if the folder is something else, or is not there and
   *   may not be made; `NEWER_VERSION`, `CORRUPT`, `IO`
   */
  static async open(path: string, options: DirectoryStoreOptions = {}): Promise<DirectoryStore> {
    const files = new StoreFiles(path, options.onStep);
    const store = new DirectoryStore(path, files, options);
    const layoutPath = files.at('oci-layout');
    let layout = await files.read(layoutPath, LAYOUT_BYTES_MAX);
    if (layout === undefined) {
      await store.#create(options.create ?? true);
      layout = await files.read(layoutPath, LAYOUT_BYTES_MAX);
    }
    checkLayout(layout ?? new Uint8Array(0), layoutPath);
    return store;
  }

  async has({ digest, size }: BlobKey): Promise<boolean> {
    return (await this.#files.size(this.#files.blobPath(digest))) === size;
  }

  async isWhole(key: BlobKey): Promise<boolean> {
    if (!(await this.has(key))) return false;
    if (this.#whole.has(key.digest)) return true;
    try {
      await this.getBlob(key);
    } catch (error) {
      const isDamaged = error instanceof SnapshotError && error.code !== 'IO';
      if (isDamaged) return false;
      throw error;
    }
    this.#whole.add(key.digest);
    return true;
  }

  async firstMissing(keys: readonly BlobKey[]): Promise<BlobKey | undefined> {
    // A look at a local file takes microseconds, a turn of the event loop for each many more.
    return keys.find(({ digest, size }) => {
      return statSync(this.#files.blobPath(digest), { throwIfNoEntry: false })?.size !== size;
    });
  }

  getBlobSync(key: BlobKey): Uint8Array {
    const path = this.#files.blobPath(key.digest);
    try {
      const size = statSync(path, { throwIfNoEntry: false })?.size;
      if (size === undefined) throw missingBlob(key.digest);
      // Another size is no blob of this name; whatever it is, it is not read.
      if (size !== key.size || size > BLOB_BYTES_MAX) throw wrongBlobSize(key, size);
      const bytes = readFileSync(path);
      const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
      checkDigestSync(NODE_PLATFORM, key, plain);
      return plain;
    } catch (error) {
      throw hostError('read blob', key.digest, error);
    }
  }

  async getBlob(key: BlobKey, options: CancelOptions = {}): Promise<Uint8Array> {
    options.signal?.throwIfAborted();
    if (key.size <= AT_ONCE_BYTES) return this.getBlobSync(key);
    const bytes = await this.#files.read(this.#files.blobPath(key.digest), BLOB_BYTES_MAX);
    if (bytes === undefined) throw missingBlob(key.digest);
    await checkDigest(NODE_PLATFORM, key, bytes);
    return bytes;
  }

  async getBlobInto(key: BlobKey, target: Uint8Array, options: CancelOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    const found = await this.#files.readInto(this.#files.blobPath(key.digest), target);
    if (found === undefined) throw missingBlob(key.digest);
    if (found !== key.size || target.length !== key.size) throw wrongBlobSize(key, found);
    await checkDigest(NODE_PLATFORM, key, target);
  }

  async *streamBlob({ digest }: BlobKey, offset: number): AsyncGenerator<Uint8Array> {
    try {
      const stream = createReadStream(this.#files.blobPath(digest), {
        start: offset,
        highWaterMark: PIECE_BYTES,
      });
      for await (const piece of stream) yield piece as Uint8Array;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missingBlob(digest);
      throw hostError('read blob', digest, error);
    }
  }

  async list(): Promise<readonly TagEntry[]> {
    return (await this.#readIndex()).entries;
  }

  async resolve(tag: string): Promise<Descriptor> {
    const found = (await this.list()).find((entry) => entry.tag === tag);
    if (found === undefined) throw unknownTag(tag);
    return found.manifest;
  }

  async attachmentOf(subject: Digest, artifactType: string): Promise<Descriptor | undefined> {
    return findAttachment((await this.#readIndex()).untagged, subject, artifactType);
  }

  async openWriter(): Promise<SnapshotStoreWriter> {
    const holder = ownHolder();
    const lease = this.#files.at(WRITERS_FOLDER, holder.id);
    // Under the lock, so that `gc` either sees this writer or is done.
    await this.#locked('write to', async () => {
      await writeFile(lease, JSON.stringify(holder), { flag: 'wx' });
    });
    return {
      putBlob: (key, content, options) => this.#putBlob(key, content, options ?? {}, holder.id),
      putManifest: (tag, bytes) => this.#putManifest(tag, bytes, holder.id),
      putAttachment: (bytes) => this.#putAttachment(bytes, holder.id),
      close: () => this.#files.remove(lease).catch(() => {}),
    };
  }

  async deleteTag(tag: string): Promise<void> {
    await this.#changeIndex('tag', (index) => {
      const entries = index.entries.filter((entry) => entry.tag !== tag);
      if (entries.length === index.entries.length) throw unknownTag(tag);
      return { ...index, entries };
    });
  }

  async gc(options: { readonly isDryRun?: boolean } = {}): Promise<GCReport> {
    return this.#locked('collect garbage in', async (lock) => {
      await this.#checkNoWriters();
      const index = await this.#readIndex();
      const { entries } = index;
      const untagged = await soundAttachments(this, withoutLoose(index).untagged);
      const tags = [...entries, ...untagged.map((manifest) => ({ tag: '(untagged)', manifest }))];
      const reached = await reachableBlobs(this, tags);
      // Not written otherwise: what frees a full disk should need no room.
      if (untagged.length < index.untagged.length && options.isDryRun !== true)
        await this.#replaceIndex({ entries, untagged }, lock, 'gc');
      const keep = new Set([...reached.keys()].map((digest) => digest.slice('sha256:'.length)));
      const report = { keptCount: 0, keptBytes: 0, removedCount: 0, removedBytes: 0 };
      const remove = async (folder: string, name: string): Promise<void> => {
        const path = this.#files.at(folder, name);
        report.removedCount++;
        report.removedBytes += (await this.#files.size(path)) ?? 0;
        if (options.isDryRun !== true) await this.#files.remove(path);
      };
      for (const name of await this.#names(BLOBS_FOLDER)) {
        if (!BLOB_NAME.test(name)) continue; // Nothing that a digest names: not ours to remove.
        if (keep.has(name)) {
          report.keptCount++;
          report.keptBytes += (await this.#files.size(this.#files.at(BLOBS_FOLDER, name))) ?? 0;
        } else await remove(BLOBS_FOLDER, name);
      }
      // Nobody writes, so these are of writers that are gone.
      for (const folder of [STAGING_FOLDER, WRITERS_FOLDER])
        for (const name of await this.#names(folder)) await remove(folder, name);
      return report;
    });
  }

  /** Where `push` keeps what it needs to go on after a kill. */
  uploadsPath(name: string): string {
    return this.#files.at(UPLOADS_FOLDER, name);
  }

  async #create(mayCreate: boolean): Promise<void> {
    const names = await readdir(this.path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw hostError('open store', this.path, error);
    });
    // A store whose making was cut off has our folder and nothing that we do not make.
    const isOurs =
      names === undefined ||
      names.length === 0 ||
      (names.includes(OWN_FOLDER) && names.every((name) => OWN_NAMES.includes(name)));
    if (!mayCreate || !isOurs)
      throw new SnapshotError(
        'NOT_A_SNAPSHOT',
        `Cannot open store "${this.path}" as it must be an OCI image layout: ` +
          (names === undefined ? 'it is not there' : 'there is no "oci-layout" in it'),
        { subject: this.path },
      );
    await this.#locked('make', async () => {
      const layoutPath = this.#files.at('oci-layout');
      if ((await this.#files.size(layoutPath)) !== undefined) return; // Somebody else made it.
      // The layout comes last: where it is, the index was, and a lost index is
      // never taken for none.
      const empty = encodeIndex({ entries: [], untagged: [] });
      await this.#files.replace(this.#files.at('index.json'), empty, '.', 'create');
      await this.#files.replace(layoutPath, encodeLayout(), '.', 'create');
    });
  }

  async #putBlob(
    key: BlobKey,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options: PutOptions,
    owner: string,
  ): Promise<boolean> {
    if (await this.isWhole(key)) return false;
    await this.#files.putBlob(key, content, options, owner);
    this.#whole.add(key.digest);
    return true;
  }

  async #putManifest(tag: string, bytes: Uint8Array, owner: string): Promise<Descriptor> {
    checkTag(tag);
    if (bytes.length > MANIFEST_BYTES_MAX)
      throw new SnapshotError(
        'TOO_LARGE',
        `Cannot keep snapshot "${tag}" as its manifest must have at most ${MANIFEST_BYTES_MAX} ` +
          `bytes: it has ${bytes.length}`,
        { subject: tag },
      );
    const digest = await digestOf(NODE_PLATFORM, bytes);
    const manifest: Descriptor = { mediaType: MANIFEST_TYPE, digest, size: bytes.length };
    await this.#putBlob(manifest, bytes, { isHashed: true }, owner);
    await this.#changeIndex(owner, async (index) => {
      const missing = await this.firstMissing([...namedBlobs(bytes, tag), manifest]);
      if (missing !== undefined) throw missingBlob(missing.digest, tag);
      await this.#files.syncFolder(BLOBS_FOLDER);
      const others = index.entries.filter((entry) => entry.tag !== tag);
      if (others.length >= TAGS_MAX)
        throw new SnapshotError(
          'TOO_LARGE',
          `Cannot keep snapshot "${tag}" as the store must hold at most ${TAGS_MAX}`,
        );
      return { ...index, entries: [...others, { tag, manifest: manifestDescriptor(manifest) }] };
    });
    return manifest;
  }

  async #putAttachment(bytes: Uint8Array, owner: string): Promise<Descriptor | undefined> {
    const digest = await digestOf(NODE_PLATFORM, bytes);
    const attachment = decodeAttachment(bytes, digest);
    const manifest: Descriptor = { mediaType: MANIFEST_TYPE, digest, size: bytes.length };
    await this.#putBlob(manifest, bytes, { isHashed: true }, owner);
    let isKept = false;
    await this.#changeIndex(owner, async (index) => {
      const missing = await this.firstMissing([...blobsOfAttachment(attachment), manifest]);
      if (missing !== undefined) throw missingBlob(missing.digest, digest);
      await this.#files.syncFolder(BLOBS_FOLDER);
      const untagged = withAttachment(index.untagged, manifest, attachment);
      const changed = withoutLoose({ ...index, untagged });
      isKept = changed.untagged.some((one) => one.digest === digest);
      return changed;
    });
    return isKept ? manifest : undefined;
  }

  async #readIndex(): Promise<StoreIndex> {
    const path = this.#files.at('index.json');
    const bytes = await this.#files.read(path, STORE_INDEX_BYTES_MAX);
    if (bytes === undefined)
      throw new SnapshotError('CORRUPT', `Cannot read "${path}" as it must be there: it is not`, {
        subject: path,
      });
    return decodeIndex(bytes, path);
  }

  async #changeIndex(
    owner: string,
    change: (index: StoreIndex) => StoreIndex | Promise<StoreIndex>,
  ): Promise<void> {
    await this.#locked('change tags in', async (lock) => {
      await this.#replaceIndex(withoutLoose(await change(await this.#readIndex())), lock, owner);
    });
  }

  async #replaceIndex(index: StoreIndex, lock: ProcessLock, owner: string): Promise<void> {
    const path = this.#files.at('index.json');
    const bytes = encodeIndex(index);
    if (bytes.length > STORE_INDEX_BYTES_MAX)
      throw new SnapshotError('TOO_LARGE', `Cannot write "${path}" as it would be too large`);
    if (!lock.isHeld())
      throw new SnapshotError('BUSY', `Cannot change tags in "${this.path}": the lock was taken`);
    await this.#files.replace(path, bytes, '.', owner);
  }

  async #locked<T>(action: string, work: (lock: ProcessLock) => Promise<T>): Promise<T> {
    let lock: Awaited<ReturnType<typeof takeLock>>;
    try {
      // A store that another tool made, or that was copied by its OCI parts, has
      // none of our folders.
      await this.#files.makeFolders();
      lock = await takeLock(this.#files.at(OWN_FOLDER, 'lock'), this.#lockTimeoutMs);
    } catch (error) {
      throw hostError('lock store', this.path, error);
    }
    if ('holder' in lock)
      throw new SnapshotError(
        'BUSY',
        `Cannot ${action} store "${this.path}" as nobody else may change it: ` +
          `process ${lock.holder.pid} on host "${lock.holder.host}" does`,
        { subject: this.path },
      );
    try {
      return await work(lock);
    } catch (error) {
      throw hostError(action, this.path, error);
    } finally {
      lock.release();
    }
  }

  async #checkNoWriters(): Promise<void> {
    for (const name of await this.#names(WRITERS_FOLDER)) {
      const holder = readHolder(this.#files.at(WRITERS_FOLDER, name));
      if (holder === undefined || !isAlive(holder)) continue;
      throw new SnapshotError(
        'BUSY',
        `Cannot collect garbage in "${this.path}" as nobody must save there or load ` +
          `lazily from it: process ${holder.pid} on host "${holder.host}" does`,
        { subject: this.path },
      );
    }
  }

  async #names(folder: string): Promise<string[]> {
    try {
      return await readdir(this.#files.at(folder));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw hostError('list', folder, error);
    }
  }
}

/** An index without attachments of snapshots that are gone. */
function withoutLoose({ entries, untagged }: StoreIndex): StoreIndex {
  const tagged = entries.map(({ manifest }) => manifest);
  return { entries, untagged: withoutOrphans(tagged, untagged) };
}

function wrongBlobSize({ digest, size }: BlobKey, found: number): SnapshotError {
  return new SnapshotError(
    'CORRUPT',
    `Cannot use blob "${digest}" as it must have ${size} bytes: it has ${found}`,
    { subject: digest },
  );
}
