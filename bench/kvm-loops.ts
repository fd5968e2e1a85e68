// The loops of kvm-loops.c, compiled for the benchmark and called in its own process, on the same
// virtual machine.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Each gives back how many calls failed; addresses are of structures of linux/kvm.h. */
export interface KVMLoops {
  slotUpdates(vm: number, region: number, count: number): number;
  dirtySyncs(vm: number, log: number, count: number): number;
  portExits(vcpu: number, run: number, count: number): number;
}

/** @throws {Error} without gcc */
export function loadLoops(): KVMLoops {
  const folder = mkdtempSync(join(tmpdir(), 'quire-kvm-loops-'));
  try {
    const library = join(folder, 'loops.so');
    const source = fileURLToPath(new URL('kvm-loops.c', import.meta.url));
    execFileSync('gcc', ['-O2', '-shared', '-fPIC', '-o', library, source]);
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const loops = koffi.load(library);
    const loop = (name: string) => loops.func(`long ${name}(int, uintptr_t, long)`);
    return {
      slotUpdates: loop('slot_updates'),
      dirtySyncs: loop('dirty_syncs'),
      portExits: loop('port_exits'),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
