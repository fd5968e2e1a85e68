// The code of a unit as a recorded path has it: what ran most often first, through calls, returns
// and jumps whose targets only the path knows.

import type { PathGraph } from './recorded-path.ts';
import {
  branchTarget,
  type CodeReader,
  cutBlocks,
  endsPath,
  isCall,
  makeRegion,
  PageSet,
  pageOf,
  placeRoot,
  type UnitInstruction,
  type UnitRegion,
} from './unit-region.ts';

/** Most instructions of one unit. */
const INSTRUCTIONS_MAX = 400;
/** An indirect jump compares with so many targets. */
const TARGETS_MAX = 4;

/** How much of the path is in the region, 0 to 1. */
export function coverageOf({ blocks }: UnitRegion, path: PathGraph): number {
  const instructions = blocks.flatMap((block) => block.instructions);
  return instructions.reduce((sum, { offset }) => sum + path.countAt(offset), 0) / path.length;
}

/** @param root offset of an instruction of the path: the walk starts there */
export function findHotRegion(reader: CodeReader, path: PathGraph, root: number): UnitRegion {
  const found = new Map<number, UnitInstruction>();
  const leaders = new Set<number>([root]);
  const entered = new Set<number>();
  /** Where blocks lead. */
  const targets = new Set<number>();
  const pages = new PageSet();
  const open = [root];
  while (open.length > 0 && found.size < INSTRUCTIONS_MAX) walk(takeHottest());
  placeRoot(root, found, entered, targets, leaders);
  return makeRegion(root, cutBlocks(found, leaders, reader, targetsOf), entered, reader);

  function takeHottest(): number {
    let best = 0;
    for (let index = 1; index < open.length; index++) {
      if (path.countAt(open[index]!) > path.countAt(open[best]!)) best = index;
    }
    return open.splice(best, 1)[0]!;
  }

  function visit(offset: number): void {
    targets.add(offset);
    if (leaders.has(offset) || path.countAt(offset) === 0) return;
    leaders.add(offset);
    open.push(offset);
  }

  function walk(start: number): void {
    for (let offset = start; found.size < INSTRUCTIONS_MAX; ) {
      if (found.has(offset)) {
        leaders.add(offset);
        return;
      }
      const instruction = reader.instructionAt(offset);
      if (!instruction || !pages.take(instruction)) return;
      found.set(offset, instruction);
      const { next } = instruction;
      const isDeferred = reader.isDeferred(instruction);
      if (isDeferred || instruction.meaning.compiled.row.options.endsBlock) {
        if (isDeferred || isCall(instruction)) entered.add(next);
        for (const successor of path.successorsOf(offset)) {
          // Where code comes to from elsewhere, too: functions, what follows a call, tops of loops.
          if (successor !== next && (successor <= offset || endsPath(instruction)))
            entered.add(successor);
          visit(successor);
        }
        return;
      }
      if (pageOf(next) !== pageOf(offset)) {
        visit(next);
        return;
      }
      offset = next;
      if (leaders.has(offset)) return;
    }
  }

  /** Where an instruction led that does not say itself where it leads. */
  function targetsOf(last: UnitInstruction): readonly number[] {
    if (!endsPath(last) || branchTarget(last) !== undefined) return [];
    return path.successorsOf(last.offset).slice(0, TARGETS_MAX);
  }
}
