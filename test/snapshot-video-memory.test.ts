// Video memory in clones and loads. Pages of it that nobody has written are not looked at, so each
// way of writing must be noticed.

import { expect, test } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { NODE_PLATFORM } from '../src/cli/snapshot/node-platform.ts';
import type { Machine } from '../src/machine/machine.ts';
import { DIRTY_FILLED } from '../src/memory/dirty-memory.ts';
import { cloneMachine } from '../src/snapshot/clone.ts';
import { MachineSnapshots } from '../src/snapshot/machine-snapshots.ts';
import { MemoryStore } from '../src/snapshot/memory-store.ts';
import { ResetPoint } from '../src/snapshot/reset-point.ts';
import { blankMachine, countingMachine, GUEST_RAM_BYTES } from './snapshot-guest.ts';

const PAGE = 4096;
const FRAMEBUFFER_GPA = 0xfd00_0000;
const TEXT_GPA = 0xb_8000;
const CODE_GPA = 0x1000;
const EDI = 7;
const OPTIONS = {
  memoryBytes: GUEST_RAM_BYTES,
  accelerator: softwareAccelerator,
  host: nodeHost,
};
const LOOP = [
  ...[0x41], //                               inc ecx
  ...[0x89, 0x0f], //                         mov [edi], ecx
  ...[0x81, 0xc7, 0x04, 0x08, 0x00, 0x00], // add edi, 0x804
  ...[0xeb, 0xf5], //                         jmp back
];

const videoMemoryOf = (machine: Machine): Uint8Array => machine.pc.display.vram.bytes;

const isEqual = (one: Machine, other: Machine): boolean =>
  Buffer.compare(videoMemoryOf(one), videoMemoryOf(other)) === 0;

/** A guest that fills video memory from page `page` on. */
function drawingMachine(page: number): Machine {
  const machine = countingMachine();
  machine.addressSpace.loadBytes(CODE_GPA, Uint8Array.from(LOOP));
  machine.vcpu.state.setReg32(EDI, FRAMEBUFFER_GPA + page * PAGE);
  machine.vcpu.synchronize();
  return machine;
}

/** Writes `value` in all ways: the guest's, the card's window, and as DMA does. */
function draw(machine: Machine, value: number): void {
  machine.vcpu.run(200 + value);
  machine.addressSpace.write(TEXT_GPA + 2 * value, 1, value);
  machine.addressSpace.write(FRAMEBUFFER_GPA + (900 + value) * PAGE, 4, value);
  machine.addressSpace.writeBytes(
    FRAMEBUFFER_GPA + (2000 + 8 * value) * PAGE - 3,
    new Uint8Array(2 * PAGE).fill(value),
  );
}

test('a clone has the video memory of its original, and so has a clone of it', async () => {
  const source = drawingMachine(100);
  for (const value of [1, 0, 77]) {
    draw(source, value);
    const first = await cloneMachine(source, OPTIONS);
    expect(isEqual(first.machine, source)).toBe(true);
    draw(first.machine, value + 1);
    expect(isEqual(first.machine, source)).toBe(false);
    const second = await cloneMachine(first.machine, OPTIONS);
    expect(isEqual(second.machine, first.machine)).toBe(true);
    for (const { machine, done } of [second, first]) {
      await done;
      machine.close();
    }
  }
});

test.each([false, true])('a load brings it, and zeros elsewhere (lazy: %s)', async (isLazy) => {
  const source = drawingMachine(50);
  draw(source, 5);
  const store = new MemoryStore(NODE_PLATFORM);
  const options = { store, platform: NODE_PLATFORM };
  await new MachineSnapshots(source, options).save('one');
  const fresh = blankMachine({ isBlank: true });
  const used = drawingMachine(3000);
  draw(used, 90);
  for (const machine of [fresh, used]) {
    await new MachineSnapshots(machine, options).load('one', { isLazy });
    expect(isEqual(machine, source)).toBe(true);
  }
});

test('a machine that is put back has it as it was, and so has its clone', async () => {
  const source = drawingMachine(10);
  draw(source, 3);
  const point = await ResetPoint.take(source);
  const before = videoMemoryOf(source).slice();
  draw(source, 40);
  await point.reset();
  expect(Buffer.compare(videoMemoryOf(source), before)).toBe(0);
  const { machine } = await cloneMachine(source, OPTIONS);
  expect(isEqual(machine, source)).toBe(true);
});

// Goal: the time of a clone does not depend on how much video memory nobody uses.
test('pages that nobody has written stay known as zeros, in clones and after loads', async () => {
  const source = drawingMachine(100);
  const knownOf = ({ memory, pc }: Machine): number => {
    const { ramOffset, sizeBytes } = pc.display.vram;
    return sizeBytes / PAGE - memory.dirty.count(DIRTY_FILLED, ramOffset, sizeBytes);
  };
  draw(source, 1);
  const known = knownOf(source);
  expect(known).toBeGreaterThan(3900);
  expect(known).toBeLessThan(4096);
  const { machine } = await cloneMachine(source, OPTIONS);
  expect(knownOf(machine)).toBe(known);
  const store = new MemoryStore(NODE_PLATFORM);
  const options = { store, platform: NODE_PLATFORM };
  await new MachineSnapshots(source, options).save('one');
  const target = blankMachine({ isBlank: true });
  await new MachineSnapshots(target, options).load('one');
  expect(knownOf(target)).toBeGreaterThanOrEqual(known);
});
