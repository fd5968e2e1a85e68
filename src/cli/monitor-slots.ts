// `info slots`: how the accelerator has the guest's memory mapped.

import { Memslots } from '../accel/kvm/memslots.ts';
import { formatSlots, type SlotLister } from '../accel/kvm/slot-info.ts';
import type { VCPU } from '../cpu/vcpu.ts';

/** The memory slots of a processor's accelerator; undefined if it has none. */
export function slotsOf(vcpu: VCPU): SlotLister | undefined {
  const { memslots } = vcpu as { readonly memslots?: unknown };
  return memslots instanceof Memslots ? memslots : undefined;
}

/** The listing, or why there is none. */
export function formatSlotsOf(slots: SlotLister | undefined): string {
  return slots === undefined
    ? 'This accelerator has no memory slots: it reads the page map itself\n'
    : formatSlots(slots);
}
