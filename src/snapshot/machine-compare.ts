// Whether a snapshot is for a machine: configuration and RAM blocks, compared before anything is
// touched, with an answer that names what differs.

import { hex } from '../base/hex.ts';
import type { Machine } from '../machine/machine.ts';
import type { RAMBlock } from '../memory/ram-block.ts';
import { mismatch } from './machine-error.ts';
import type { IndexedBlock } from './page-index.ts';

/**
 * The machine's blocks as a snapshot lists them: by id, so that equal machines have equal lists.
 */
export function blocksOf(machine: Machine): IndexedBlock[] {
  return sortedBlocks(machine).map(({ id, sizeBytes }) => ({ id, sizeBytes }));
}

/** RAM blocks in the order of {@link blocksOf}. */
export function sortedBlocks(machine: Machine): RAMBlock[] {
  const { blocks } = machine.memory.ramList;
  return [...blocks].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

/** @throws {SnapshotError} `MISMATCH` naming the block that is missing, extra or of another size */
export function compareBlocks(machine: Machine, theirs: readonly IndexedBlock[]): void {
  const rest = new Map(theirs.map((block) => [block.id, block]));
  for (const { id, sizeBytes } of machine.memory.ramList.blocks) {
    const block = rest.get(id);
    if (block === undefined)
      throw mismatch(id, 'the machine has such a RAM block, the snapshot has none');
    if (block.sizeBytes !== sizeBytes)
      throw mismatch(
        id,
        `the RAM block must have the machine\u2019s ${hex(sizeBytes)} bytes: ` +
          `the snapshot has ${hex(block.sizeBytes)}`,
      );
    rest.delete(id);
  }
  for (const id of rest.keys())
    throw mismatch(id, 'the snapshot has such a RAM block, the machine has none');
}

/** @throws {SnapshotError} `MISMATCH` naming the first field of the configuration that differs */
export function compareConfigurations(
  machine: Machine,
  theirs: Readonly<Record<string, unknown>>,
): void {
  const ours = machine.configuration;
  for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
    const [our, their] = [JSON.stringify(ours[key]), JSON.stringify(theirs[key])];
    if (our !== their)
      throw mismatch(
        `configuration.${key}`,
        `the machine has ${our ?? 'none'}, the snapshot has ${their ?? 'none'}`,
      );
  }
}
