import { expect, test } from 'vitest';
import { FakeHost } from '../../test/fake-host.ts';
import { type Slice, scriptedAccelerator } from '../../test/scripted-vcpu.ts';
import { contentOf, HeldDevice, pattern, SECTOR } from '../../test/storage-board.ts';
import { MemoryDevice } from '../devices/block/memory-device.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import { Machine } from './machine.ts';
import { type DriveConfig, driveId } from './storage.ts';

const MIB = 0x10_0000;
const BSY = 0x80;
const CMOS_FLOPPY = 0x10;
const HALT: Slice = () => ({ kind: 'halted' });
const powerOff: Slice = (vcpu) => {
  vcpu.wiring.ports.write(0x604, 2, 0x2000);
  return { kind: 'budget' };
};

function create(slices: Slice[], drives: readonly DriveConfig[]) {
  const host = new FakeHost();
  const accelerator = scriptedAccelerator(slices);
  const machine = Machine.create({ memoryBytes: 4 * MIB, accelerator, host, drives });
  return { host, machine, vcpu: accelerator.vcpu };
}

function disk(medium = MemoryDevice.from(pattern(64 * SECTOR))): DriveConfig & {
  medium: MemoryDevice;
} {
  return { interface: 'ide', media: 'disk', index: 0, medium };
}

/** READ SECTORS of one sector by the first channel. */
function readSector(ports: AddressSpace, sector: number): void {
  for (const [port, value] of [
    [0x1f6, 0xe0],
    [0x1f2, 1],
    [0x1f3, sector],
    [0x1f4, 0],
    [0x1f5, 0],
    [0x1f7, 0x20],
  ] as const)
    ports.write(port, 1, value);
}

test("drives have QEMU's names", () => {
  const ide = { interface: 'ide', media: 'disk' } as const;
  expect([0, 3].map((index) => driveId({ ...ide, index }))).toEqual(['ide0-hd0', 'ide1-hd1']);
  expect(driveId({ ...ide, media: 'cdrom', index: 2 })).toBe('ide1-cd0');
  expect(driveId({ interface: 'floppy', media: 'disk', index: 1 })).toBe('floppy1');
});

test.each([
  [[disk(), disk()], 'ide index 0 must be free: "ide0-hd0" has it'],
  [[{ ...disk(), index: 4 }], 'its index must be 0 to 3: it is 4'],
  [
    [{ interface: 'ide', media: 'disk', index: 0 } as const],
    'Cannot create drive "ide0-hd0" as a disk must have a medium',
  ],
  [
    [{ interface: 'floppy', media: 'disk', index: 0, medium: new MemoryDevice(4 * MIB) } as const],
    'must not be larger than 2.88 MB',
  ],
])('impossible drives are refused', (drives, message) => {
  expect(() => create([HALT], drives as DriveConfig[])).toThrow(message);
});

test('a sector reaches the guest through its ports, with an interrupt', async () => {
  const got = new Uint8Array(SECTOR);
  const { machine, vcpu } = create(
    [
      ({ wiring: { ports } }) => {
        ports.write(0x21, 1, 0xfb); // Unmask the cascade and IRQ 14.
        ports.write(0xa1, 1, 0xbf);
        readSector(ports, 9);
        expect(ports.read(0x1f7, 1) & BSY).toBe(BSY);
        return { kind: 'halted' };
      },
      ({ wiring: { ports, interrupts } }) => {
        if (ports.read(0x3f6, 1) & BSY) return { kind: 'halted' };
        expect(interrupts.hasInterrupt()).toBe(true);
        expect(interrupts.acknowledge()).toBe(0x76);
        for (let i = 0; i < SECTOR; i += 4)
          new DataView(got.buffer).setUint32(i, ports.read(0x1f0, 4), true);
        vcpu.slices = [powerOff];
        return { kind: 'budget' };
      },
    ],
    [disk()],
  );
  const end = await machine.run();
  if (end?.kind === 'failure') throw end.error;
  expect(got).toEqual(pattern(64 * SECTOR).subarray(9 * SECTOR, 10 * SECTOR));
});

test('a request of the host ends the slice, and its end wakes a halted processor', async () => {
  const medium = new HeldDevice(MemoryDevice.from(pattern(64 * SECTOR)));
  const isBusy = () => (machine.ports.read(0x3f6, 1) & BSY) !== 0;
  const { machine, vcpu, host } = create(
    [
      (cpu) => {
        readSector(cpu.wiring.ports, 1);
        expect(cpu.isStopRequested).toBe(true);
        return { kind: 'halted' };
      },
      () => {
        if (isBusy()) return { kind: 'halted' };
        vcpu.slices = [powerOff];
        return { kind: 'budget' };
      },
    ],
    [{ ...disk(), medium } as DriveConfig],
  );
  host.onSleep = () => queueMicrotask(() => medium.release());
  const end = await machine.run();
  if (end?.kind === 'failure') throw end.error;
  expect(machine.clock.nowNs()).toBeLessThan(1_000_000_000);
});

test('a request does not end while the machine is paused', async () => {
  const medium = new HeldDevice(MemoryDevice.from(pattern(64 * SECTOR)));
  const { machine } = create([HALT], [{ ...disk(), medium } as DriveConfig]);
  readSector(machine.ports, 1);
  medium.release();
  expect(machine.ports.read(0x3f6, 1) & BSY).toBe(BSY);
  machine.start();
  while (machine.ports.read(0x3f6, 1) & BSY) await new Promise((resolve) => setTimeout(resolve, 1));
  machine.close();
});

test('failure 29: bus-master DMA into a page with code drops that code', () => {
  const { machine } = create([HALT], [disk()]);
  const { addressSpace, ports, memory } = machine;
  const dropped: number[] = [];
  memory.codePages.onInvalidate((ramOffset) => void dropped.push(ramOffset));
  memory.codePages.addLines(0x5000, 8);
  addressSpace.write(0x1000, 4, 0x5000);
  addressSpace.write(0x1004, 4, 0x8000_0200);
  ports.write(0xc044, 4, 0x1000);
  ports.write(0xc040, 1, 9);
  for (const [port, value] of [
    [0x1f6, 0xe0],
    [0x1f2, 1],
    [0x1f3, 2],
    [0x1f7, 0xc8],
  ] as const)
    ports.write(port, 1, value);
  machine.clock.fireDue();
  expect(dropped).toEqual([0x5000]);
  expect(addressSpace.read(0x5000, 1)).toBe(pattern(64 * SECTOR)[2 * SECTOR]);
  machine.close();
});

test('CMOS memory tells of the floppy drives', () => {
  const floppy = (index: number, sizeBytes?: number): DriveConfig => ({
    interface: 'floppy',
    media: 'disk',
    index,
    ...(sizeBytes === undefined ? {} : { medium: new MemoryDevice(sizeBytes) }),
  });
  const cmos = (drives: readonly DriveConfig[], index: number) => {
    const { machine } = create([HALT], drives);
    machine.ports.write(0x70, 1, index);
    const value = machine.ports.read(0x71, 1);
    machine.close();
    return value;
  };
  expect(cmos([], CMOS_FLOPPY)).toBe(0);
  expect(cmos([], 0x14) & 0xc1).toBe(0);
  expect(cmos([floppy(0, 1_474_560), floppy(1, 2_949_120)], CMOS_FLOPPY)).toBe(0x45);
  expect(cmos([floppy(0), floppy(1)], 0x14) & 0xc1).toBe(0x41);
});

test('the whole state restores into a machine of the same drives, and its write goes on', () => {
  const { machine } = create([HALT], [disk()]);
  const { ports } = machine;
  readSector(ports, 3);
  const saved = machine.pc.savables.map((part) => part.save());
  const medium = new MemoryDevice(64 * SECTOR);
  const other = create([HALT], [disk(medium)]).machine;
  for (const [i, part] of other.pc.savables.entries()) part.restore(saved[i]!);
  other.clock.fireDue();
  expect(other.ports.read(0x3f6, 1)).toBe(0x58);
  expect(contentOf(medium, 3, 1)).toEqual(new Uint8Array(SECTOR));
  machine.close();
  other.close();
});
