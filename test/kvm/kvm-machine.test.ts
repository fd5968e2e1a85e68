// Machines on KVM: their time, their snapshots, and those that go from one accelerator to another.
// The guest counts and writes each count to another page, so that its memory at any instant can be
// computed from the count.

import { afterEach, expect, test } from 'vitest';
import { kvmAccelerator } from '../../src/accel/kvm/kvm-accelerator.ts';
import { missingKVM } from '../../src/accel/kvm/missing-kvm.ts';
import { interpreterAccelerator } from '../../src/accel/software/index.ts';
import { nodeHost } from '../../src/cli/node-host.ts';
import { NODE_PLATFORM } from '../../src/cli/snapshot/node-platform.ts';
import type { Accelerator } from '../../src/cpu/vcpu.ts';
import type { Machine, MachineEnd } from '../../src/machine/machine.ts';
import { cloneMachine } from '../../src/snapshot/clone.ts';
import { MachineSnapshots } from '../../src/snapshot/machine-snapshots.ts';
import { saveSections } from '../../src/snapshot/machine-state.ts';
import { MemoryStore } from '../../src/snapshot/memory-store.ts';
import { ResetPoint } from '../../src/snapshot/reset-point.ts';
import { encodeSections } from '../../src/snapshot/sections.ts';
import {
  blankMachine,
  countedMemory,
  countedPart,
  countingMachine,
  countOf,
  GUEST_RAM_BYTES,
} from '../snapshot-guest.ts';

const reason = missingKVM();
const title = (text: string) => (reason === undefined ? text : `${text} (${reason})`);
const onKVM = test.skipIf(reason !== undefined);
const SPIN_GPA = 0x3000;

const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.close();
});

function opened(machine: Machine): Machine {
  machines.push(machine);
  return machine;
}

const counting = (accelerator: Accelerator) => opened(countingMachine({ accelerator }));
const blank = (accelerator: Accelerator) => opened(blankMachine({ accelerator, isBlank: true }));

/** Runs until the guest has counted on by `count` at least. */
function countOn(machine: Machine, count: number): void {
  const end = countOf(machine) + count;
  for (let slice = 0; countOf(machine) < end; slice++) {
    expect(slice).toBeLessThan(5000);
    expect(machine.vcpu.run(count, 1_000_000).kind).toBe('budget');
  }
}

function isCounted(machine: Machine): boolean {
  const expected = countedMemory(countOf(machine));
  return (
    Buffer.compare(Buffer.from(countedPart(machine).buffer), Buffer.from(expected.buffer)) === 0
  );
}

function snapshotsOf(machine: Machine, store: MemoryStore): MachineSnapshots {
  return new MachineSnapshots(machine, { store, platform: NODE_PLATFORM });
}

const stateOf = (machine: Machine): Promise<Uint8Array> =>
  machine.standStill(() => encodeSections(saveSections(machine)));

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

onKVM(
  title('timers, pause and the host go on while a guest spins with interrupts off'),
  async () => {
    const machine = counting(kvmAccelerator());
    machine.addressSpace.loadBytes(SPIN_GPA, Uint8Array.of(0xfa, 0xeb, 0xfe)); // cli; jmp $
    machine.vcpu.state.eip = SPIN_GPA;
    machine.vcpu.synchronize();
    let expired = 0;
    const timer = machine.clock.createTimer(() => {
      expired++;
    });
    timer.arm(machine.clock.nowNs() + 3_000_000);
    machine.start();
    let turns = 0;
    while (expired === 0) {
      await later(1);
      expect(++turns).toBeLessThan(5000);
    }
    await machine.pause();
    expect(machine.vcpu.state.eip).toBe(SPIN_GPA + 1);
    const stoodNs = machine.clock.nowNs();
    await later(5);
    expect(machine.clock.nowNs()).toBe(stoodNs);
  },
);

onKVM(title('a guest\u2019s disaster ends the run with a report'), async () => {
  const machine = counting(kvmAccelerator());
  machine.addressSpace.loadBytes(SPIN_GPA, Uint8Array.of(0x0f, 0x0b)); // ud2, without an IDT
  machine.vcpu.state.eip = SPIN_GPA;
  machine.vcpu.synchronize();
  const end = (await machine.run()) as Extract<MachineEnd, { kind: 'disaster' }>;
  expect(end.kind).toBe('disaster');
  expect(end.reason).not.toBe('');
  expect(end.report).toContain('EIP=');
});

onKVM(title('software to KVM to software: a running guest counts on'), async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  const accelerators = [interpreterAccelerator, kvmAccelerator(), interpreterAccelerator];
  let previous: Machine | undefined;
  for (const [index, accelerator] of [...accelerators, kvmAccelerator()].entries()) {
    const machine = index === 0 ? counting(accelerator) : blank(accelerator);
    const snapshots = snapshotsOf(machine, store);
    if (previous !== undefined) {
      await snapshots.load(`hop-${index - 1}`);
      expect(Buffer.compare(await stateOf(machine), await stateOf(previous))).toBe(0);
      expect(isCounted(machine)).toBe(true);
    }
    machine.start();
    await later(10);
    const saved = await snapshots.save(`hop-${index}`);
    expect(saved.isIncremental).toBe(index > 0);
    await machine.pause();
    expect(isCounted(machine)).toBe(true);
    await snapshots.load(`hop-${index}`);
    previous = machine;
  }
});

// Goal: pages are those of one instant, although nobody is told of a store before it happens.
onKVM(title('a guest on KVM stands still until all its pages are given out'), async () => {
  const machine = counting(kvmAccelerator());
  const store = new MemoryStore(NODE_PLATFORM);
  machine.start();
  await later(5);
  const counts: number[] = [];
  const { giveTurn } = machine;
  machine.giveTurn = async () => {
    await giveTurn.call(machine);
    counts.push(countOf(machine));
  };
  await snapshotsOf(machine, store).save('a');
  const copy = blank(interpreterAccelerator);
  await snapshotsOf(copy, store).load('a');
  // Turns that were given before the instant do not matter.
  const instant = countOf(copy);
  const since = counts.slice(counts.indexOf(instant));
  expect(counts).toContain(instant);
  expect(since.length).toBeGreaterThan(2);
  expect(new Set(since)).toEqual(new Set([instant]));
  await machine.pause();
});

onKVM(
  title('an incremental save on KVM has what the guest wrote since, and less than all'),
  async () => {
    const store = new MemoryStore(NODE_PLATFORM);
    const machine = counting(kvmAccelerator());
    const snapshots = snapshotsOf(machine, store);
    countOn(machine, 300);
    const full = await snapshots.save('full');
    for (const [index, count] of [1, 50, 400].entries()) {
      countOn(machine, count);
      // What devices write counts as well.
      machine.addressSpace.writeBytes(0x8ffe, Uint8Array.of(index, 2, 3));
      const saved = await snapshots.save(`part-${index}`, { kind: 'incremental' });
      expect(saved.pageCount).toBeLessThan(full.pageCount);
      const copy = blank(index % 2 === 0 ? interpreterAccelerator : kvmAccelerator());
      await snapshotsOf(copy, store).load(`part-${index}`);
      expect(countOf(copy)).toBe(countOf(machine));
      expect(Buffer.compare(copy.pc.ram.bytes, machine.pc.ram.bytes)).toBe(0);
      expect(isCounted(copy)).toBe(true);
    }
  },
);

onKVM(title('a save that fails loses no page of the dirty log'), async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  const machine = counting(kvmAccelerator());
  const snapshots = snapshotsOf(machine, store);
  countOn(machine, 100);
  await snapshots.save('full');
  countOn(machine, 200);
  const control = new AbortController();
  const failing = snapshots.save('failed', {
    kind: 'incremental',
    signal: control.signal,
    onProgress: () => control.abort(),
  });
  await failing.catch(() => {});
  countOn(machine, 10);
  await snapshots.save('part', { kind: 'incremental' });
  const copy = blank(interpreterAccelerator);
  await snapshotsOf(copy, store).load('part');
  expect(isCounted(copy)).toBe(true);
});

onKVM(title('a lazy load on KVM brings every page before the guest runs'), async () => {
  const store = new MemoryStore(NODE_PLATFORM);
  const machine = counting(interpreterAccelerator);
  machine.vcpu.run(50_000);
  await snapshotsOf(machine, store).save('a');
  const copy = blank(kvmAccelerator());
  await snapshotsOf(copy, store).load('a', { isLazy: true });
  expect(copy.memory.ramList.missing).toBeUndefined();
  countOn(copy, 500);
  expect(isCounted(copy)).toBe(true);
});

onKVM(title('clones between accelerators are equal, and go on by themselves'), async () => {
  for (const [from, to] of [
    [kvmAccelerator(), kvmAccelerator()],
    [kvmAccelerator(), interpreterAccelerator],
    [interpreterAccelerator, kvmAccelerator()],
  ] as const) {
    const source = counting(from);
    countOn(source, 200);
    const clone = await cloneMachine(source, {
      memoryBytes: GUEST_RAM_BYTES,
      accelerator: to,
      host: nodeHost,
    });
    const machine = opened(clone.machine);
    expect(Buffer.compare(await stateOf(machine), await stateOf(source))).toBe(0);
    countOn(source, 100);
    countOn(machine, 300);
    await clone.done;
    for (const each of [source, machine]) expect(isCounted(each)).toBe(true);
  }
});

onKVM(title('a machine on KVM returns to its point bit for bit, again and again'), async () => {
  const machine = counting(kvmAccelerator());
  countOn(machine, 100);
  const before = [await stateOf(machine), machine.memory.ramList.bytes.slice()] as const;
  const point = await ResetPoint.take(machine);
  for (const count of [1, 300, 40]) {
    countOn(machine, count);
    machine.addressSpace.writeBytes(0x8ffe, Uint8Array.of(1, 2, 3, 4, count & 0xff));
    expect(point.changedCount).toBeGreaterThan(0);
    await point.reset();
    expect(point.changedCount).toBe(0);
    expect(Buffer.compare(await stateOf(machine), before[0])).toBe(0);
    expect(Buffer.compare(machine.memory.ramList.bytes, before[1])).toBe(0);
  }
  countOn(machine, 50);
  expect(isCounted(machine)).toBe(true);
  point.close();
});
