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
/** More than the ring of a page has entries: the processor leaves for that. */
const PAGE_COUNT = 600;
const LAST = BUFFER + (PAGE_COUNT - 1) * 4096;
const CODE = [
  ...[0xbf, 0x00, 0x00, 0x30, 0x00], // mov edi, BUFFER
  ...[0xb9, PAGE_COUNT & 0xff, PAGE_COUNT >> 8, 0x00, 0x00], // mov ecx, PAGE_COUNT
  ...[0xc6, 0x07, 0x01], // mov byte [edi], 1
  ...[0x81, 0xc7, 0x00, 0x10, 0x00, 0x00], // add edi, 4096
  ...[0xe2, 0xf5], // loop to the mov
  0xf4, // hlt
];

const reason = missingKVM();
const why = reason === undefined ? '' : ` (${reason})`;
const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.close();
});

function createMachine(dirtyRingBytes: number | undefined): Machine {
  const header = [0x1badb002, 0x10000, -(0x1badb002 + 0x10000), BASE, BASE, 0, 0, BASE + 32];
  const kernel = Uint8Array.of(...new Uint8Array(Int32Array.from(header).buffer), ...CODE);
  const accelerator = kvmAccelerator((error) => {
    throw error;
  }, dirtyRingBytes);
  const memoryBytes = 16 * 2 ** 20;
  const machine = Machine.create({ memoryBytes, accelerator, host: nodeHost, kernel });
  machines.push(machine);
  return machine;
}

test.skipIf(reason !== undefined).each([
  ['manual protect', undefined],
  ['ring', 65536],
] as const)(
  `by %s: the log has the pages that the guest wrote, and no other${why}`,
  async (_kind, dirtyRingBytes) => {
    const machine = createMachine(dirtyRingBytes);
    const { dirty, ramList } = machine.memory;
    dirty.clear(0, ramList.capacityBytes, DIRTY_MIGRATION);
    void machine.run();
    const hasEnded = () => machine.addressSpace.read(LAST, 1) === 1;
    await expect.poll(hasEnded, { timeout: 10_000 }).toBe(true);
    await machine.pause();
    machine.addressSpace.syncDirtyLog();
    const first = machine.pc.ram.ramOffset / 4096;
    const pages = [...dirty.harvest(DIRTY_MIGRATION).pages()].map((page) => page - first);
    expect(pages).toEqual(Array.from({ length: PAGE_COUNT }, (_, at) => BUFFER / 4096 + at));
    expect(formatSlotsOf(slotsOf(machine.vcpu))).toMatch(
      /^KVM memory slots: 3 of .*\n +0{16}-0+9ffff \(slot 0, ram, log\): pc\.ram @0+\n/,
    );
  },
);

// Goal: a kernel that emulates the processor fills a small ring over its end, and then calls it
// full for ever: that must end with a report, and no page may be lost. With hardware it leaves in
// time.
test.skipIf(reason !== undefined)(
  `a ring that is too small loses no page, and hangs nobody${why}`,
  async () => {
    const machine = createMachine(4096);
    const { dirty, ramList } = machine.memory;
    dirty.clear(0, ramList.capacityBytes, DIRTY_MIGRATION);
    let isOver = false;
    void machine.run().then(() => {
      isOver = true;
    });
    const wrote = (page: number) => machine.addressSpace.read(BUFFER + page * 4096, 1) === 1;
    const hasEnded = () => isOver || wrote(PAGE_COUNT - 1);
    await expect.poll(hasEnded, { timeout: 10_000 }).toBe(true);
    if (!isOver) await machine.pause();
    machine.addressSpace.syncDirtyLog();
    const start = machine.pc.ram.ramOffset + BUFFER;
    const pages = [...Array(PAGE_COUNT).keys()].filter(wrote);
    expect(pages.length).toBeGreaterThan(0);
    for (const page of pages)
      expect(dirty.isDirty(start + page * 4096, 4096, DIRTY_MIGRATION), `page ${page}`).toBe(true);
  },
);
