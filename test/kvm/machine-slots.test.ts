// A machine on the host's KVM: what its guest wrote since the last save is what the dirty log says.

import { afterEach, expect, test } from 'vitest';
import { kvmAccelerator } from '../../src/accel/kvm/kvm-accelerator.ts';
import { missingKVM } from '../../src/accel/kvm/missing-kvm.ts';
import { formatSlotsOf, slotsOf } from '../../src/cli/monitor-slots.ts';
import { nodeHost } from '../../src/cli/node-host.ts';
import { Machine } from '../../src/machine/machine.ts';
import { DIRTY_MIGRATION } from '../../src/memory/index.ts';

const BASE = 0x10_0000;
const BUFFER = 0x30_0000;
const LAST = 0x30_3000;
const CODE = [
  ...[0xbf, 0x00, 0x00, 0x30, 0x00], // mov edi, BUFFER
  ...[0xc6, 0x07, 0x55], // mov byte [edi], 0x55
  ...[0xc6, 0x87, 0x00, 0x30, 0x00, 0x00, 0x01], // mov byte [edi + 0x3000], 1
  0xf4, // hlt
];

const reason = missingKVM();
const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.close();
});

function createMachine(): Machine {
  const header = [0x1badb002, 0x10000, -(0x1badb002 + 0x10000), BASE, BASE, 0, 0, BASE + 32];
  const kernel = Uint8Array.of(...new Uint8Array(Int32Array.from(header).buffer), ...CODE);
  const accelerator = kvmAccelerator((error) => {
    throw error;
  });
  const memoryBytes = 16 * 2 ** 20;
  const machine = Machine.create({ memoryBytes, accelerator, host: nodeHost, kernel });
  machines.push(machine);
  return machine;
}

test.skipIf(reason !== undefined)(
  `pages that the guest wrote, and no other, are in the log${reason ? ` (${reason})` : ''}`,
  async () => {
    const machine = createMachine();
    const { dirty, ramList } = machine.memory;
    dirty.clear(0, ramList.capacityBytes, DIRTY_MIGRATION);
    void machine.run();
    const hasEnded = () => machine.addressSpace.read(LAST, 1) === 1;
    await expect.poll(hasEnded, { timeout: 10_000 }).toBe(true);
    await machine.pause();
    machine.addressSpace.syncDirtyLog();
    const first = machine.pc.ram.ramOffset / 4096;
    const pages = [...dirty.harvest(DIRTY_MIGRATION).pages()].map((page) => page - first);
    expect(pages).toEqual([BUFFER / 4096, LAST / 4096]);
    expect(formatSlotsOf(slotsOf(machine.vcpu))).toMatch(
      /^KVM memory slots: 3 of \d+.*\n +0{16}-0+9ffff \(slot 0, ram, log\): pc\.ram @0+\n/,
    );
  },
);
