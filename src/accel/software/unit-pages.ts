// Pages that a block of a unit has reached by some register: accesses near the same register mostly
// lie in the same page, and then need no look at the TLB. Nothing changes a row while a unit runs.

import type { FunctionBuilder, Value } from '../../wasm/index.ts';

/** More would only take registers from the host. */
const PAGES_MAX = 4;

export interface KnownPage {
  /** Linear address of its start; pinned. */
  readonly page: Value;
  /** Added to a linear address in it gives the byte of the buffer; pinned. */
  readonly addend: Value;
  /** Whether it may be stored to at once. */
  readonly isWritable: boolean;
}

/** What is known of one block, by what `Value.root` says of addresses. */
export class KnownPages {
  readonly #f: FunctionBuilder;
  #pages = new Map<object, KnownPage>();

  constructor(f: FunctionBuilder) {
    this.#f = f;
  }

  find({ root }: Value, isWrite: boolean): KnownPage | undefined {
    const known = root && this.#pages.get(root);
    return known && (known.isWritable || !isWrite) ? known : undefined;
  }

  /** Notes the page of an address, where everything behind it in the block passes. */
  note({ root }: Value, known: KnownPage): void {
    if (!root) return;
    if (this.#pages.has(root)) this.#forget(root);
    else if (this.#pages.size === PAGES_MAX) this.#forget(this.#pages.keys().next().value!);
    this.#f.keep(known.page);
    this.#f.keep(known.addend);
    this.#pages.set(root, known);
  }

  #forget(root: object): void {
    const { page, addend } = this.#pages.get(root)!;
    this.#f.release(page);
    this.#f.release(addend);
    this.#pages.delete(root);
  }

  /** What is known here, for a block that follows this one only. */
  carry(): ReadonlyMap<object, KnownPage> {
    return new Map(this.#pages);
  }

  /** A block was emitted: nothing is kept for what follows it. */
  endBlock(): void {
    for (const root of [...this.#pages.keys()]) this.#forget(root);
  }

  /** A block begins, with what the only way to it carries. */
  enterBlock(carried: ReadonlyMap<object, KnownPage> | undefined): void {
    this.#pages = new Map(carried);
    for (const { page, addend } of this.#pages.values()) {
      this.#f.reserve(page);
      this.#f.reserve(addend);
    }
  }
}
