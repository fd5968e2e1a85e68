// Listings for a monitor, in the layout of QEMU's `info mtree`, `info mtree -f`, `info ramblock`
// and `info tlb`. Each returns text that ends in a newline.

import { formatSize, hexDigits } from '../base/hex.ts';
import { PAGE_SIZE } from '../base/pages.ts';
import type { AddressSpace } from './address-space.ts';
import { DIRTY_CODE, DIRTY_MIGRATION, DIRTY_VGA, type DirtyMemory } from './dirty-memory.ts';
import { SECTION_IO, SECTION_RAM, SECTION_ROM } from './flat-view.ts';
import type { MemoryRegion } from './memory-region.ts';
import type { RAMList } from './ram-list.ts';
import { type SoftTLB, TLB_INVALID, TLB_IO, TLB_NOTDIRTY, TLB_ROM, TLB_WATCH } from './soft-tlb.ts';

/** `info mtree`: the region trees of the spaces, then the regions that aliases show. */
export function formatTree(spaces: readonly AddressSpace[]): string {
  const lines: string[] = [];
  const targets = new Set<MemoryRegion>();
  for (const space of spaces) {
    lines.push(`address-space: ${space.name}`);
    addTree(lines, space.root, 0, 1, targets);
    lines.push('');
  }
  // A target may hold aliases itself; a Set takes them up while it is walked.
  for (const target of targets) {
    lines.push(`memory-region: ${target.name}`);
    addTree(lines, target, 0, 1, targets);
    lines.push('');
  }
  return `${lines.join('\n')}\n`;
}

function addTree(
  lines: string[],
  region: MemoryRegion,
  base: number,
  depth: number,
  targets: Set<MemoryRegion>,
): void {
  const indent = '  '.repeat(depth);
  const state = region.isEnabled ? '' : ' [disabled]';
  const head = `${indent}${formatRange(base, region.sizeBytes)} (prio ${region.priority}, `;
  if (region.target !== undefined) {
    const { target } = region;
    targets.add(target);
    const range = formatRange(region.aliasOffset, region.sizeBytes);
    lines.push(
      `${head}${kindName(target)}): alias ${region.name} @${target.name} ${range}${state}`,
    );
    return;
  }
  lines.push(`${head}${kindName(region)}): ${region.name}${state}`);
  const byAddress = [...region.subregions].sort(
    (a, b) => a.offset - b.offset || b.priority - a.priority,
  );
  for (const child of byAddress) addTree(lines, child, base + child.offset, depth + 1, targets);
}

function kindName(region: MemoryRegion): string {
  if (region.kind === 'romd') return region.isRomdMode ? 'romd' : 'i/o';
  if (region.kind === 'ram') return region.isReadOnly ? 'rom' : 'ram';
  return region.kind === 'rom' ? 'rom' : 'i/o';
}

/** First and last address, 16 digits each. */
function formatRange(start: number, sizeBytes: number): string {
  return `${hexDigits(start)}-${hexDigits(start + (sizeBytes - 1))}`;
}

/** `info mtree -f`: what the processor sees. */
export function formatFlatView(spaces: readonly AddressSpace[]): string {
  const lines: string[] = [];
  spaces.forEach((space, index) => {
    lines.push(`FlatView #${index}`);
    lines.push(` AS "${space.name}", root: ${space.root.name}`);
    lines.push(` Root memory region: ${space.root.name}`);
    if (space.view.sections.length === 0) lines.push('  No rendered FlatView');
    for (const { region, start, sizeBytes, kind, offsetInRegion } of space.view.sections) {
      const name = kind === SECTION_RAM ? 'ram' : kind === SECTION_ROM ? 'rom' : undefined;
      const kindText = name ?? (kind === SECTION_IO ? 'i/o' : 'romd');
      const from = offsetInRegion === 0 ? '' : ` @${hexDigits(offsetInRegion)}`;
      lines.push(
        `  ${formatRange(start, sizeBytes)} (prio ${region!.priority}, ${kindText}): ` +
          `${region!.name}${from}`,
      );
    }
    lines.push('');
  });
  return `${lines.join('\n')}\n`;
}

/** `info ramblock`: the blocks, from biggest to smallest; HVA is the byte of the host's buffer. */
export function formatRAMBlocks(ramList: RAMList): string {
  const row = (name: string, page: string, columns: readonly string[]): string =>
    `${name.padStart(24)} ${page.padStart(8)}  ${columns.map((c) => c.padStart(18)).join(' ')}`;
  const lines = [row('Block Name', 'PSize', ['Offset', 'Used', 'Total', 'HVA'])];
  for (const block of ramList.blocks) {
    const values = [block.ramOffset, block.usedBytes, block.sizeBytes, block.bytes.byteOffset];
    lines.push(
      row(
        block.id,
        formatSize(PAGE_SIZE),
        values.map((value) => `0x${hexDigits(value)}`),
      ),
    );
  }
  return `${lines.join('\n')}\n`;
}

/**
 * `info tlb`: linear page, guest-physical page, and letters: G global, U the user table, R
 * readable, W writable, D stores hit (all clients have seen them), O ROM, I device, T watched.
 */
export function formatTLB(tlb: SoftTLB): string {
  const lines: string[] = [];
  const entries = [...tlb.entries()].sort((a, b) => a.mmuIndex - b.mmuIndex || a.linear - b.linear);
  for (const { linear, gpa, readFlags, writeFlags, isGlobal, mmuIndex } of entries) {
    const flags = readFlags | writeFlags;
    const canWrite = (writeFlags & (TLB_INVALID | TLB_ROM)) === 0;
    const letters = [
      [isGlobal, 'G'],
      [mmuIndex === 1, 'U'],
      [(readFlags & TLB_INVALID) === 0, 'R'],
      [canWrite, 'W'],
      [canWrite && (writeFlags & (TLB_NOTDIRTY | TLB_IO)) === 0, 'D'],
      [(writeFlags & TLB_ROM) !== 0, 'O'],
      [(flags & TLB_IO) !== 0, 'I'],
      [(flags & TLB_WATCH) !== 0, 'T'],
    ] as const;
    const text = letters.map(([isSet, letter]) => (isSet ? letter : '-')).join('');
    lines.push(`${hexDigits(linear)}: ${hexDigits(gpa)} ${text}`);
  }
  return lines.length === 0 ? 'TLB is empty\n' : `${lines.join('\n')}\n`;
}

/** `info dirty`: dirty pages of each block, by client. */
export function formatDirty(ramList: RAMList, dirty: DirtyMemory): string {
  const lines = [
    `${'Block Name'.padStart(24)} ${['Pages', 'VGA', 'CODE', 'MIGRATION']
      .map((column) => column.padStart(10))
      .join(' ')}`,
  ];
  for (const { id, ramOffset, sizeBytes } of ramList.blocks) {
    const counts = [
      sizeBytes / PAGE_SIZE,
      ...[DIRTY_VGA, DIRTY_CODE, DIRTY_MIGRATION].map((bits) =>
        dirty.count(bits, ramOffset, sizeBytes),
      ),
    ];
    lines.push(`${id.padStart(24)} ${counts.map((c) => String(c).padStart(10)).join(' ')}`);
  }
  return `${lines.join('\n')}\n`;
}
