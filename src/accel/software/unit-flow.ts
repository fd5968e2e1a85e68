// Emits a structure of blocks and loops: opens WebAssembly blocks and loops around the nodes, and
// branches from the node under emission to any other.

import type { FunctionBuilder, Label, Local } from '../../wasm/index.ts';
import { i32 } from '../../wasm/index.ts';
import type { Structure, StructureLevel } from './unit-structure.ts';

interface OpenLevel {
  readonly level: StructureLevel;
  /** The loop's start; undefined for the outermost level. */
  readonly top: Label | undefined;
  /** By item: the end of the block right before it. */
  readonly labels: (Label | undefined)[];
}

export class UnitFlow {
  readonly #f: FunctionBuilder;
  readonly #structure: Structure;
  readonly #enter: Local;
  readonly #emitNode: (node: number) => void;
  readonly #open: OpenLevel[] = [];

  /**
   * @param enter number of the entry when the function begins (`enterNumbers`); then its own
   * @param emitNode emits one node; it must end in `goTo`, or leave the function
   */
  constructor(
    f: FunctionBuilder,
    structure: Structure,
    enter: Local,
    emitNode: (node: number) => void,
  ) {
    this.#f = f;
    this.#structure = structure;
    this.#enter = enter;
    this.#emitNode = emitNode;
  }

  /** Emits everything; nothing falls out of its end. */
  emit(): void {
    this.#emitLevel(this.#structure.root, undefined);
    this.#f.unreachable();
  }

  /** Branches from the node under emission to `node`. */
  goTo(node: number): void {
    const f = this.#f;
    for (let depth = this.#open.length - 1; depth >= 0; depth--) {
      const { level, top, labels } = this.#open[depth]!;
      if (level.header === node) {
        f.br(top!);
        return;
      }
      const index = level.indexOf.get(node);
      if (index === undefined) continue;
      const item = level.items[index]!;
      if (typeof item !== 'number' && item.header !== node) {
        f.set(this.#enter, i32(this.#structure.enterNumbers.get(node)!));
      }
      f.br(labels[index]!);
      return;
    }
    throw new RangeError(`Cannot branch to node ${node} as the graph has no such`);
  }

  #emitLevel(level: StructureLevel, top: Label | undefined): void {
    const open: OpenLevel = { level, top, labels: [] };
    this.#open.push(open);
    this.#emitItems(open, level.items.length - 1);
    this.#open.pop();
  }

  /** Items up to `last`, each behind the block whose end is its label. */
  #emitItems(open: OpenLevel, last: number): void {
    const f = this.#f;
    if (last === 0) {
      this.#emitDispatch(open);
    } else {
      f.block((label) => {
        open.labels[last] = label;
        this.#emitItems(open, last - 1);
      });
    }
    const item = open.level.items[last]!;
    if (typeof item === 'number') {
      if (this.#structure.enterNumbers.has(item)) f.set(this.#enter, i32(0));
      this.#emitNode(item);
    } else {
      f.loop((top) => this.#emitLevel(item, top));
    }
  }

  /** Leads those who entered elsewhere than at the first item to theirs. */
  #emitDispatch({ level, labels }: OpenLevel): void {
    const f = this.#f;
    if (level.entered.every((node) => level.indexOf.get(node) === 0)) return;
    const { enterNumbers } = this.#structure;
    f.if(this.#enter, () => {
      f.block((here) => {
        const targets: Label[] = [];
        for (const node of level.entered) {
          targets[enterNumbers.get(node)!] = labels[level.indexOf.get(node)!] ?? here;
        }
        f.brTable(
          this.#enter,
          Array.from(targets, (label) => label ?? here),
          here,
        );
      });
    });
  }
}
