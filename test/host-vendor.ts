// Who made the host's processor: tests that compare with it must know, as makers differ.

import { readFileSync } from 'node:fs';

/** As CPUID has it, such as `AuthenticAMD`; empty where the host does not say. */
function readVendor(): string {
  try {
    return /^vendor_id\s*: (\S+)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1] ?? '';
  } catch {
    return ''; // Not Linux.
  }
}

/** Whether the host's processor is one of Intel's; false where the host does not say. */
export const isIntelHost = readVendor() === 'GenuineIntel';
