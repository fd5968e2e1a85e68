// Whether tests and benches can use KVM here, and what it can do.

import { readFileSync } from 'node:fs';
import { KVMHost } from './kvm-host.ts';

/** Why there is no KVM on this host, for people; undefined where there is. */
export function missingKVM(): string | undefined {
  try {
    KVMHost.open().close();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Why KVM does not run all of a processor here, undefined where it does. A host without hardware
 * virtualization may have a KVM that emulates instruction by instruction: real mode, and as much of
 * protected mode as its emulator knows; no paging, no x87.
 */
export function emulatedKVM(): string | undefined {
  const missing = missingKVM();
  if (missing !== undefined) return missing;
  const hasHardware = /^flags\s*:.*\b(svm|vmx)\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
  return hasHardware ? undefined : 'this KVM has no hardware and emulates a part of the processor';
}
