// Guest RAM of snapshots as plain files, which RAM of the host's can show without reading them:
//
//   <store>/.quire/ram/<digest>.ram    blocks of guest RAM in the page index's order; zeros: holes
//                     /<digest>.seal   inode, size and times of that file, once it was whole
//
// Blobs are verified whenever they are read. An image cannot be, or it would cost what it saves: it
// is written from verified blobs, and counts while its inode, size and times are those of the seal,
// which whoever writes to a file changes. It is a copy: it may be deleted at any time.

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import {
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { PAGE_SIZE } from '../../base/pages.ts';
import type { Machine } from '../../machine/machine.ts';
import type { RAMBlock } from '../../memory/ram-block.ts';
import type { RAMImage } from '../../snapshot/ram-load.ts';
import type { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import type { SnapshotStore } from '../../snapshot/store.ts';
import { OWN_FOLDER } from './store-files.ts';

const IMAGES_FOLDER = join(OWN_FOLDER, 'ram');
const READ_ONLY = 0o444;
const PART = /\.(\d+)\.part$/;

/** What a file is recognized by. */
interface Seal {
  readonly inode: string;
  readonly size: string;
  readonly modifiedNs: string;
  readonly changedNs: string;
}

/** The images of a store's snapshots, for one machine. Close it when the load is over. */
export class RAMImages {
  readonly #machine: Machine;
  readonly #store: SnapshotStore;
  readonly #folder: string;
  readonly #onNote: (message: string) => void;
  #file: number | undefined;

  /** @param onNote told why there is no image, where there should be one */
  constructor(
    machine: Machine,
    store: SnapshotStore & { readonly path: string },
    onNote: (message: string) => void,
  ) {
    this.#machine = machine;
    this.#store = store;
    this.#folder = join(store.path, IMAGES_FOLDER);
    this.#onNote = onNote;
  }

  /** A snapshot's image, made if it is not there yet; undefined if this machine can have none. */
  async imageOf(reader: SnapshotReader): Promise<RAMImage | undefined> {
    const { ramList } = this.#machine.memory;
    if (ramList.mapFile === undefined) return undefined;
    try {
      const path = join(this.#folder, `${reader.digest.slice('sha256:'.length)}.ram`);
      const layout = this.#layout(reader);
      this.#file = await this.#openSound(path, layout.sizeBytes);
      if (this.#file === undefined) {
        await this.#make(path, reader, layout);
        this.#file = await this.#openSound(path, layout.sizeBytes);
      }
      const file = this.#file;
      if (file === undefined) return undefined;
      return { show: (block) => this.#show(block, file, layout.offsets.get(block.id)!) };
    } catch (error) {
      this.#onNote(`Cannot keep the image of "${reader.name}": ${(error as Error).message}`);
      return undefined;
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #show(block: RAMBlock, file: number, fileOffset: number): void {
    const { ramList } = this.#machine.memory;
    try {
      ramList.mapFile!(block.ramOffset, block.sizeBytes, file, fileOffset);
    } catch {
      // The host has no more mappings for us, say: then it is read.
      for (let done = 0; done < block.sizeBytes; ) {
        const size = Math.min(2 ** 30, block.sizeBytes - done);
        done += readSync(file, block.bytes, done, size, fileOffset + done);
      }
    }
  }

  /** Where each block of guest RAM begins. */
  #layout({ pageIndex }: SnapshotReader): { offsets: Map<string, number>; sizeBytes: number } {
    const ids = new Set(this.#machine.pc.guestRAM.map(({ id }) => id));
    const offsets = new Map<string, number>();
    let sizeBytes = 0;
    for (const block of pageIndex.blocks) {
      if (!ids.has(block.id)) continue;
      offsets.set(block.id, sizeBytes);
      sizeBytes += block.sizeBytes;
    }
    return { offsets, sizeBytes };
  }

  /** A descriptor of the image, if it is there and as it was when it was made. */
  async #openSound(path: string, sizeBytes: number): Promise<number | undefined> {
    let seal: string;
    let file: number;
    try {
      seal = await readFile(sealPath(path), 'utf8');
      file = openSync(path, constants.O_RDONLY);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const now = fstatSync(file, { bigint: true });
    if (seal === sealOf(now) && now.size === BigInt(sizeBytes)) return file;
    closeSync(file);
    return undefined;
  }

  async #make(
    path: string,
    reader: SnapshotReader,
    { offsets, sizeBytes }: { offsets: ReadonlyMap<string, number>; sizeBytes: number },
  ): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    await this.#sweep();
    const aside = `${path}.${process.pid}.part`;
    try {
      const file = await open(aside, 'w');
      try {
        await file.truncate(sizeBytes);
        for await (const { blockId, firstPage, bytes } of reader.pages()) {
          const start = offsets.get(blockId);
          if (start === undefined) continue;
          const position = start + firstPage * PAGE_SIZE;
          const { bytesWritten } = await file.write(bytes, 0, bytes.length, position);
          if (bytesWritten !== bytes.length) throw new Error('no space is left on the device');
        }
        await file.sync();
      } finally {
        await file.close();
      }
      await chmod(aside, READ_ONLY);
      await rename(aside, path);
    } catch (error) {
      await unlink(aside).catch(() => {});
      throw error;
    }
    // Only now: a rename changes the time of the last change, too.
    const seal = sealOf(await stat(path, { bigint: true }));
    await writeFile(`${aside}.seal`, seal);
    await rename(`${aside}.seal`, sealPath(path));
  }

  /** Removes images of snapshots that are no more, and what killed processes left. */
  async #sweep(): Promise<void> {
    const tags = await this.#store.list();
    const kept = new Set(tags.map(({ manifest }) => manifest.digest.slice('sha256:'.length)));
    for (const name of await readdir(this.#folder)) {
      const writer = PART.exec(name.replace(/\.seal$/, ''))?.[1];
      const isKept = writer === undefined ? kept.has(name.split('.')[0]!) : isAlive(Number(writer));
      if (!isKept) await unlink(join(this.#folder, name)).catch(() => {});
    }
  }
}

function sealPath(path: string): string {
  return path.replace(/\.ram$/, '.seal');
}

function sealOf(file: { ino: bigint; size: bigint; mtimeNs: bigint; ctimeNs: bigint }): string {
  const seal: Seal = {
    inode: String(file.ino),
    size: String(file.size),
    modifiedNs: String(file.mtimeNs),
    changedNs: String(file.ctimeNs),
  };
  return JSON.stringify(seal);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
