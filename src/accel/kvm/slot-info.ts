// `info slots`: the memory slots of a machine on KVM, in the layout of `info mtree -f`.

import { hexDigits } from '../../base/hex.ts';
import { SECTION_ROMD } from '../../memory/flat-view.ts';
import type { PageRun } from '../../memory/page-run.ts';
import type { Memslots } from './memslots.ts';

/** What a listing needs of the slots. */
export type SlotLister = Pick<Memslots, 'slots' | 'slotCountMax' | 'exiles' | 'logKind'>;

/**
 * Each slot: guest-physical addresses, number, kind, `log` if the kernel notes what is written, and
 * which block and RAM offset in it they show. Then what has no slot, although it is whole pages.
 */
export function formatSlots({ slots, slotCountMax, exiles, logKind }: SlotLister): string {
  const lines = [`KVM memory slots: ${slots.length} of ${slotCountMax}, dirty log by ${logKind}`];
  for (const { slotIndex, run, isLogged } of slots)
    lines.push(format(run, `slot ${slotIndex}, ${kindOf(run)}${isLogged ? ', log' : ''}`));
  for (const run of exiles) lines.push(format(run, `no slot, ${kindOf(run)}`));
  return `${lines.join('\n')}\n`;
}

function kindOf({ isReadOnly, section }: PageRun): string {
  if (section.kind === SECTION_ROMD) return 'romd';
  return isReadOnly ? 'rom' : 'ram';
}

function format({ gpa, sizeBytes, ramOffset, section }: PageRun, properties: string): string {
  const block = section.region!.block!;
  const range = `${hexDigits(gpa)}-${hexDigits(gpa + (sizeBytes - 1))}`;
  return `  ${range} (${properties}): ${block.id} @${hexDigits(ramOffset - block.ramOffset)}`;
}
