// Where a unit asks whether there is fuel: at its entries and at the tops of its loops, for as many
// instructions as may run until it asks again. With less the interpreter goes on, which stops at
// the very instruction.

import { graphOf, type UnitBlock, type UnitRegion } from './unit-region.ts';
import type { StructureLevel } from './unit-structure.ts';

/** Instructions of a block that the unit runs itself. */
export function fuelOf({ instructions, isDeferred }: UnitBlock): number {
  return instructions.length - (isDeferred ? 1 : 0);
}

/** By block: how much fuel must be there where it begins; 0 where nobody asks. */
export function fuelNeeds({ blocks, entries, structure }: UnitRegion): number[] {
  const asking = new Set(entries);
  addHeaders(structure.root, asking);
  const { successors } = graphOf(blocks, entries);
  const longest: number[] = [];
  return blocks.map((_, index) => (asking.has(index) ? longestFrom(index) : 0));

  /** The most that runs from the start of a block until another block asks. */
  function longestFrom(index: number): number {
    const known = longest[index];
    if (known !== undefined) return known;
    // Every way back to a block passes one that asks, so this ends.
    const behind = successors[index]!.filter((next) => !asking.has(next)).map(longestFrom);
    const length = fuelOf(blocks[index]!) + Math.max(0, ...behind);
    longest[index] = length;
    return length;
  }
}

function addHeaders({ header, items }: StructureLevel, headers: Set<number>): void {
  if (header >= 0) headers.add(header);
  for (const item of items) if (typeof item !== 'number') addHeaders(item, headers);
}
