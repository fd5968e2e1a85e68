// Whether tests and benches can use KVM here.

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
