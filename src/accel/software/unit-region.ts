// Which instructions of a page become one translated unit: the blocks that can be reached from its
// entries without leaving the page, read from the page's decoded records.

import type { HandlerMeaning } from './interpreter-module.ts';
import { KIND_PAGE_BRANCH } from './record.ts';

/** Most instructions of one unit: bounds the time to compile it. */
const INSTRUCTIONS_MAX = 64;
const PAGE_BYTES = 4096;

/** One instruction of the page, as its record says. */
export interface UnitInstruction {
  /** Offset within the page, and of the instruction behind it. */
  readonly offset: number;
  readonly next: number;
  /** Function table index of the interpreter's handler. */
  readonly handler: number;
  readonly meaning: HandlerMeaning;
  readonly reg: number;
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly segment: number;
  readonly displacement: number;
  readonly immediate: number;
}

export interface UnitBlock {
  readonly start: number;
  /** Instructions in order; a deferred one stands alone at the end. */
  readonly instructions: readonly UnitInstruction[];
  /** The last instruction is left to the interpreter. */
  readonly isDeferred: boolean;
  /** Offset that the block falls through to, or -1 if it ends with a jump or a deferral. */
  readonly fallsTo: number;
}

/** What the region finder asks of its page. */
export interface PageReader {
  /**
   * The instruction at an offset, decoded if need be; undefined where there is none to translate.
   */
  instructionAt(offset: number): UnitInstruction | undefined;
  /** Whether the translator leaves instructions with this meaning to the interpreter. */
  isDeferred(instruction: UnitInstruction): boolean;
}

export interface UnitRegion {
  /** In order of their start; the unit can be entered at each. */
  readonly blocks: readonly UnitBlock[];
}

/** Target of a branch that stays in the page, as an offset; -1 for every other instruction. */
export function pageTarget(instruction: UnitInstruction): number {
  const { compiled, variant } = instruction.meaning;
  const isBranch = compiled.kinds.some(({ place }) => place === 'J');
  if (!isBranch || variant.kind !== KIND_PAGE_BRANCH) return -1;
  return instruction.offset + (instruction.immediate >> 4);
}

/** @param root offset where hot code was seen: the walk starts there */
export function findRegion(reader: PageReader, root: number): UnitRegion {
  const found = new Map<number, UnitInstruction>();
  const leaders = new Set<number>();
  const queue = [root];
  while (queue.length > 0 && found.size < INSTRUCTIONS_MAX) {
    const start = queue.shift()!;
    leaders.add(start);
    walk(start);
  }
  return { blocks: cutBlocks(found, leaders, reader) };

  function visit(offset: number): void {
    if (offset < 0 || offset >= PAGE_BYTES) return;
    if (!leaders.has(offset)) {
      leaders.add(offset);
      queue.push(offset);
    }
  }

  function walk(start: number): void {
    for (let offset = start; !found.has(offset) && found.size < INSTRUCTIONS_MAX; ) {
      const instruction = reader.instructionAt(offset);
      if (!instruction) return;
      found.set(offset, instruction);
      if (reader.isDeferred(instruction)) {
        // The interpreter comes back behind it, as behind a call that returns.
        if (!instruction.meaning.compiled.row.options.endsBlock) visit(instruction.next);
        return;
      }
      const { options, mnemonic } = instruction.meaning.compiled.row;
      const target = pageTarget(instruction);
      if (target >= 0) visit(target);
      if (isConditional(instruction)) visit(instruction.next);
      if (options.endsBlock) {
        if (mnemonic === 'CALL') visit(instruction.next);
        return;
      }
      offset = instruction.next;
      if (offset >= PAGE_BYTES || leaders.has(offset)) return;
    }
  }
}

/** A branch that may fall through. */
function isConditional({ meaning }: UnitInstruction): boolean {
  const { mnemonic } = meaning.compiled.row;
  const isBranch = meaning.compiled.kinds.some(({ place }) => place === 'J');
  return isBranch && mnemonic !== 'JMP' && mnemonic !== 'CALL';
}

function cutBlocks(
  found: ReadonlyMap<number, UnitInstruction>,
  leaders: ReadonlySet<number>,
  reader: PageReader,
): UnitBlock[] {
  const blocks: UnitBlock[] = [];
  for (const start of [...leaders].sort((a, b) => a - b)) {
    const instructions: UnitInstruction[] = [];
    let isDeferred = false;
    let fallsTo = start;
    for (let at = found.get(start); at; at = found.get(fallsTo)) {
      instructions.push(at);
      fallsTo = at.next;
      isDeferred = reader.isDeferred(at);
      const endsHere = at.meaning.compiled.row.options.endsBlock && !isConditional(at);
      if (isDeferred || endsHere) {
        fallsTo = -1;
        break;
      }
      if (isConditional(at) || leaders.has(fallsTo)) break;
    }
    if (instructions.length > 0) blocks.push({ start, instructions, isDeferred, fallsTo });
  }
  return blocks;
}
