// Which instructions become one translated unit: the blocks that can be reached from where hot code
// was seen, nearest first, read from decoded records; how control goes between them, and where the
// unit can be entered.

import type { HandlerMeaning } from './interpreter-module.ts';
import { KIND_PAGE_BRANCH } from './record.ts';
import { UNIT_PAGES_MAX } from './unit-entries.ts';
import { type ControlGraph, type Structure, structureOf } from './unit-structure.ts';

/** Most instructions of one unit: bounds the time to compile it. */
const INSTRUCTIONS_MAX = 512;
/** Most instructions of a unit that is called a tight loop. */
const TIGHT_MAX = 48;
/** A RET that more calls lead to compares with so many return addresses. */
const RETURNS_MAX = 4;
/** Most instructions of one block: UnitFrame counts them in a byte. */
const BLOCK_INSTRUCTIONS_MAX = 255;
const PAGE_BITS = 12;

/** One instruction, as its record says. Offsets count from the start of the unit's root page. */
export interface UnitInstruction {
  /** Offset of the instruction, and of the one behind it. */
  readonly offset: number;
  readonly next: number;
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
  /** Whether control may reach what lies behind the last instruction. */
  readonly fallsThrough: boolean;
  /** Of a RET or another indirect jump: blocks of the unit that it may lead to, likeliest first. */
  readonly targets: readonly number[];
}

export interface UnitRegion {
  /** Offset of the code that the unit was made for. */
  readonly root: number;
  /** In order of their start. */
  readonly blocks: readonly UnitBlock[];
  /** Indexes of the blocks at which the unit can be entered, ascending. */
  readonly entries: readonly number[];
  readonly structure: Structure;
  /** Pages that its code lies on, ascending. */
  readonly pages: readonly UnitPage[];
}

export interface UnitPage {
  /** Number from the root page's, which is 0. */
  readonly page: number;
  /** Byte address of the page's first record. */
  readonly records: number;
}

/** What the region finder asks of decoded code. */
export interface CodeReader {
  /** The instruction at an offset; undefined where there is none to translate. */
  instructionAt(offset: number): UnitInstruction | undefined;
  /** Whether the translator leaves instructions with this meaning to the interpreter. */
  isDeferred(instruction: UnitInstruction): boolean;
  /** Whether units end at an offset as another is entered there, or will be. */
  isTaken(offset: number): boolean;
  /** Byte address of the first record of a page that an instruction was found on. */
  recordsOf(page: number): number;
}

/** Number of the page of an offset, from the root page's, which is 0. */
export function pageOf(offset: number): number {
  return offset >> PAGE_BITS;
}

/** Where a relative branch leads, as an offset; undefined for other instructions. */
export function branchTarget(instruction: UnitInstruction): number | undefined {
  const { compiled, variant } = instruction.meaning;
  if (!compiled.isBranch) return undefined;
  if (variant.kind === KIND_PAGE_BRANCH) return instruction.offset + (instruction.immediate >> 4);
  // With 16-bit operands the sum is cut, and where the root page lies is not known here.
  return variant.operandSize === 4 ? (instruction.next + instruction.immediate) | 0 : undefined;
}

/** Whether control never goes on behind the instruction by itself. */
export function endsPath({ meaning }: UnitInstruction): boolean {
  const { mnemonic } = meaning.compiled.row;
  return mnemonic === 'JMP' || mnemonic === 'CALL' || mnemonic === 'RET';
}

export function isCall({ meaning }: UnitInstruction): boolean {
  return meaning.compiled.row.mnemonic === 'CALL';
}

export function isReturn({ meaning }: UnitInstruction): boolean {
  return meaning.compiled.row.mnemonic === 'RET';
}

/**
 * @param root offset where hot code was seen: the walk starts there
 * @param isByChance whether nothing is known to jump to the root: where the unit comes to it by
 *   itself it is then entered elsewhere only
 */
export function findRegion(reader: CodeReader, root: number, isByChance = false): UnitRegion {
  const found = new Map<number, UnitInstruction>();
  const leaders = new Set<number>();
  const entered = new Set<number>();
  /** Where blocks lead. */
  const targets = new Set<number>();
  const pages = new PageSet();
  // What is called comes after all of the caller.
  const queues: number[][] = [[root]];
  for (let depth = 0; depth < queues.length; depth++) {
    const queue = queues[depth]!;
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (found.size >= INSTRUCTIONS_MAX) break;
      walk(next, depth);
    }
  }
  if (!isByChance) entered.add(root);
  else placeRoot(root, found, entered, targets, leaders);
  const blocks = withReturns(cutBlocks(found, leaders, reader, () => []));
  return makeRegion(root, blocks, entered, reader);

  function visit(offset: number, depth: number): void {
    targets.add(offset);
    if (leaders.has(offset)) return;
    leaders.add(offset);
    queues[depth] ??= [];
    queues[depth].push(offset);
  }

  function walk(start: number, depth: number): void {
    leaders.add(start);
    for (let offset = start; !found.has(offset) && found.size < INSTRUCTIONS_MAX; ) {
      // Another unit has the code from here on.
      if (offset !== root && reader.isTaken(offset)) return;
      const instruction = reader.instructionAt(offset);
      if (!instruction || !pages.take(instruction)) return;
      found.set(offset, instruction);
      const { next } = instruction;
      const { options } = instruction.meaning.compiled.row;
      if (reader.isDeferred(instruction)) {
        // The interpreter comes back behind it, as behind a call that returns.
        if (options.endsBlock) return;
        entered.add(next);
        visit(next, depth);
        return;
      }
      const target = branchTarget(instruction);
      if (target !== undefined) {
        visit(target, isCall(instruction) ? depth + 1 : depth);
        // The tops of loops: whoever comes into one from outside soon is in the unit.
        if (target <= offset || isCall(instruction)) entered.add(target);
      }
      if (options.endsBlock) {
        if (isCall(instruction)) entered.add(next);
        if (!endsPath(instruction) || isCall(instruction)) visit(next, depth);
        return;
      }
      if (pageOf(next) !== pageOf(offset)) {
        // A block of its own: whether the page is still there is asked between blocks.
        visit(next, depth);
        return;
      }
      offset = next;
      if (leaders.has(offset)) return;
    }
  }
}

/**
 * A root found by chance is often in the middle of a loop's block. It would cut the block, and have
 * the flags ready each time: so it is no entry if the unit has others and comes to the root from
 * there, and no block begins there if none leads there.
 */
export function placeRoot(
  root: number,
  found: ReadonlyMap<number, UnitInstruction>,
  entered: Set<number>,
  targets: ReadonlySet<number>,
  leaders: Set<number>,
): void {
  const isTarget = targets.has(root);
  const runsInto = (each: UnitInstruction): boolean =>
    each.next === root && !each.meaning.compiled.row.options.endsBlock;
  const isInside = !isTarget && [...found.values()].some(runsInto);
  if (isInside && entered.size > 0) leaders.delete(root);
  if (entered.size === 0 || !(isInside || isTarget)) entered.add(root);
}

/** The pages of a unit, as many as it may have. */
export class PageSet {
  readonly #pages = new Set<number>();

  /** Takes the pages of an instruction in, if there is room for them. */
  take({ offset, next }: UnitInstruction): boolean {
    const pages = this.#pages;
    const [first, last] = [pageOf(offset), pageOf(next - 1)];
    const wanted = (pages.has(first) ? 0 : 1) + (first === last || pages.has(last) ? 0 : 1);
    if (pages.size + wanted > UNIT_PAGES_MAX) return false;
    pages.add(first).add(last);
    return true;
  }
}

/**
 * Blocks of the instructions that were found, in order of their start.
 * @param targetsOf where an indirect jump may lead to
 */
export function cutBlocks(
  found: ReadonlyMap<number, UnitInstruction>,
  leaders: ReadonlySet<number>,
  reader: CodeReader,
  targetsOf: (last: UnitInstruction) => readonly number[],
): UnitBlock[] {
  const blocks: UnitBlock[] = [];
  const open = new Set(leaders);
  for (const start of open) {
    const instructions: UnitInstruction[] = [];
    let isDeferred = false;
    let fallsThrough = true;
    for (let at = found.get(start); at; at = found.get(at.next)) {
      instructions.push(at);
      isDeferred = reader.isDeferred(at);
      fallsThrough = !isDeferred && !endsPath(at);
      if (instructions.length === BLOCK_INSTRUCTIONS_MAX) open.add(at.next);
      if (isDeferred || at.meaning.compiled.row.options.endsBlock || open.has(at.next)) break;
    }
    const last = instructions.at(-1);
    if (!last) continue;
    const targets = isDeferred ? [] : targetsOf(last);
    blocks.push({ start, instructions, isDeferred, fallsThrough, targets });
  }
  blocks.sort((a, b) => a.start - b.start);
  const starts = new Set(blocks.map(({ start }) => start));
  return blocks.map((block) =>
    withTargets(
      block,
      block.targets.filter((target) => starts.has(target)),
    ),
  );
}

/** Not a spread: blocks of several shapes would have V8 compile what reads them again and again. */
function withTargets(block: UnitBlock, targets: readonly number[]): UnitBlock {
  const { start, instructions, isDeferred, fallsThrough } = block;
  return { start, instructions, isDeferred, fallsThrough, targets };
}

/** Follows each call of the unit to the RETs that it may come back by. */
function withReturns(blocks: readonly UnitBlock[]): UnitBlock[] {
  const indexes = new Map(blocks.map(({ start }, index) => [start, index]));
  const returns = blocks.map((): number[] => []);
  for (const { instructions, isDeferred } of blocks) {
    const last = instructions.at(-1)!;
    const callee = indexes.get(branchTarget(last) ?? Number.NaN);
    if (isDeferred || !isCall(last) || callee === undefined || !indexes.has(last.next)) continue;
    for (const block of bodyOf(callee)) returns[block]!.push(last.next);
  }
  return blocks.map((block, index) =>
    isReturn(block.instructions.at(-1)!)
      ? withTargets(block, returns[index]!.slice(0, RETURNS_MAX))
      : block,
  );

  /** Blocks that a function reaches, calls stepped over. */
  function bodyOf(first: number): Set<number> {
    const reached = new Set([first]);
    for (const index of reached) {
      const { instructions, isDeferred } = blocks[index]!;
      const last = instructions.at(-1)!;
      const target = isDeferred || isCall(last) ? undefined : branchTarget(last);
      const isOpen = isDeferred || isCall(last) || !endsPath(last);
      for (const offset of [target, isOpen ? last.next : undefined]) {
        const next = indexes.get(offset ?? Number.NaN);
        if (next !== undefined) reached.add(next);
      }
    }
    return reached;
  }
}

/** A region of blocks that is entered where `entered` has their start. */
export function makeRegion(
  root: number,
  blocks: readonly UnitBlock[],
  entered: ReadonlySet<number>,
  reader: Pick<CodeReader, 'recordsOf'>,
): UnitRegion {
  const entries = blocks.flatMap(({ start }, index) => (entered.has(start) ? [index] : []));
  const used = new Set(
    blocks.flatMap(({ instructions }) =>
      instructions.flatMap(({ offset, next }) => [pageOf(offset), pageOf(next - 1)]),
    ),
  );
  const pages = [...used]
    .sort((a, b) => a - b)
    .map((page) => ({ page, records: reader.recordsOf(page) }));
  return { root, blocks, entries, structure: structureOf(graphOf(blocks, entries)), pages };
}

/** Whether a unit is little more than loops of one block. */
export function isTightLoop({ blocks }: UnitRegion): boolean {
  const size = blocks.reduce((sum, { instructions }) => sum + instructions.length, 0);
  return size <= TIGHT_MAX && blocks.some((block) => waysOf(block).includes(block.start));
}

/** The ways between blocks that do not leave the unit. */
export function graphOf(blocks: readonly UnitBlock[], entries: readonly number[]): ControlGraph {
  const indexes = new Map(blocks.map(({ start }, index) => [start, index]));
  const successors = blocks.map((block) => {
    const known = waysOf(block).flatMap((offset) => indexes.get(offset) ?? []);
    return [...new Set(known)];
  });
  return { successors, entries };
}

/**
 * Offsets that a block may lead to, each as often as there are ways to it. Behind a call there may
 * be one, if what is called is not in the unit.
 */
export function waysOf({ instructions, isDeferred, fallsThrough, targets }: UnitBlock): number[] {
  const last = instructions.at(-1)!;
  const target = isDeferred ? undefined : branchTarget(last);
  const next = fallsThrough || (!isDeferred && isCall(last)) ? last.next : undefined;
  return [target, next, ...targets].filter((offset) => offset !== undefined);
}
