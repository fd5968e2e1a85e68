// Finds the touch order of a snapshot for a lazy load, and keeps the one that the load has seen. No
// load fails for its sake: what is wrong with it is a note.

import { readAttachment, writeAttachment } from './attachment.ts';
import type { SnapshotPlatform } from './digest.ts';
import { SnapshotError } from './snapshot-error.ts';
import type { SnapshotReader } from './snapshot-reader.ts';
import type { SnapshotStore } from './store.ts';
import { decodeTouchOrder, encodeTouchOrder, TOUCH_ORDER_TYPE, type Touch } from './touch-order.ts';

/** The touch order of one snapshot. */
export class OrderKeeper {
  readonly #store: SnapshotStore;
  readonly #platform: SnapshotPlatform;
  readonly #reader: SnapshotReader;
  readonly #onNote: (message: string) => void;
  /** What earlier runs have touched. */
  #earlier: readonly Touch[] = [];

  constructor(
    store: SnapshotStore,
    platform: SnapshotPlatform,
    reader: SnapshotReader,
    onNote: (message: string) => void = () => {},
  ) {
    this.#store = store;
    this.#platform = platform;
    this.#reader = reader;
    this.#onNote = onNote;
  }

  /** What earlier runs touched; empty if nobody knows. */
  async read(): Promise<readonly Touch[]> {
    const { digest, pageIndex } = this.#reader;
    await this.#unlessWrong('Cannot use', async () => {
      const bytes = await readAttachment(this.#store, digest, TOUCH_ORDER_TYPE);
      if (bytes !== undefined) this.#earlier = decodeTouchOrder(bytes, pageIndex);
    });
    return this.#earlier;
  }

  /** Keeps what this run touched, and behind it what earlier ones did besides. */
  async keep(touches: readonly Touch[]): Promise<void> {
    if (touches.length === 0) return;
    const { pageIndex, descriptor } = this.#reader;
    const order = this.#ordered(touches);
    const content = encodeTouchOrder(pageIndex.blocks, order);
    const known = encodeTouchOrder(pageIndex.blocks, this.#earlier);
    if (content.length === known.length && content.every((byte, i) => byte === known[i])) return;
    await this.#unlessWrong('Cannot keep', async () => {
      const [store, platform] = [this.#store, this.#platform];
      await writeAttachment(store, platform, descriptor, TOUCH_ORDER_TYPE, content);
    });
  }

  /** One page for each blob. */
  #ordered(touches: readonly Touch[]): Touch[] {
    const blobs = new Set<number>();
    return [...touches, ...this.#earlier].filter(({ blockIndex, page }) => {
      const place = this.#reader.placeOf(blockIndex, page);
      if (place === 'zeros' || blobs.has(place.blobIndex)) return false;
      blobs.add(place.blobIndex);
      return true;
    });
  }

  async #unlessWrong(action: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      const what = `the order in which "${this.#reader.name}" was touched`;
      this.#onNote(`${action} ${what}, which costs time only: ${error.message}`);
    }
  }
}
