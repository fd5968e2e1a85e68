// RAM above 4 GiB as the kernel's memory slots, on the host's own /dev/kvm.

import { expect, test } from 'vitest';
import { kvmAccelerator } from '../../src/accel/kvm/kvm-accelerator.ts';
import type { KVMVCPU } from '../../src/accel/kvm/kvm-vcpu.ts';
import { missingKVM } from '../../src/accel/kvm/missing-kvm.ts';
import { Machine } from '../../src/machine/machine.ts';
import { DIRTY_MIGRATION } from '../../src/memory/dirty-memory.ts';
import { FakeHost } from '../fake-host.ts';

const GIB = 2 ** 30;
const reason = missingKVM();

test.skipIf(reason !== undefined).each([
  [6, [2, 0.5]],
  [12, [2, 2, 2, 2, 0.5]],
])('a machine of %d GiB has slots for all of them, which log', (memoryGiB, high) => {
  const problems: Error[] = [];
  const accelerator = kvmAccelerator((error) => void problems.push(error));
  const machine = Machine.create({
    ...{ memoryBytes: memoryGiB * GIB, accelerator, host: new FakeHost(), isBlank: true },
  });
  try {
    const { memslots } = machine.vcpu as KVMVCPU;
    const above = memslots.slots.filter(({ run }) => run.gpa >= 4 * GIB);
    expect(above.map(({ run }) => run.sizeBytes / GIB)).toEqual(high);
    let gpa = 4 * GIB;
    for (const { run } of above) {
      expect(run.gpa).toBe(gpa);
      expect(machine.addressSpace.ramOffsetOf(gpa)).toBe(run.ramOffset);
      gpa += run.sizeBytes;
    }
    const { dirty } = machine.memory.guest;
    dirty.harvest(DIRTY_MIGRATION);
    expect(memslots.slots.filter(({ run }) => !run.isReadOnly).every((s) => s.isLogged)).toBe(true);
    machine.addressSpace.write(gpa - 4, 4, 1);
    machine.addressSpace.syncDirtyLog();
    const last = (machine.addressSpace.ramOffsetOf(gpa - 4) + 4) / 4096 - 1;
    expect([...dirty.harvest(DIRTY_MIGRATION).pages()]).toEqual([last]);
    expect(problems).toEqual([]);
  } finally {
    machine.close();
  }
});
