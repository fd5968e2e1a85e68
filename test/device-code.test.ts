// Chips of the board that write a page from which the processor runs, each through its ports, as a
// guest would have them do it; virtio-code.test.ts has the devices on the PCI bus.

import { afterEach, expect, test } from 'vitest';
import { interpreterAccelerator } from '../src/accel/software/index.ts';
import { CR0, SEG_ATTRIBUTES, SEGMENT, SEGMENT_BYTES } from '../src/cpu/state-layout.ts';
import { MemoryDevice } from '../src/devices/block/memory-device.ts';
import { Machine } from '../src/machine/machine.ts';
import type { DriveConfig } from '../src/machine/storage.ts';
import { FakeHost } from './fake-host.ts';

const CODE = 0x2_0000;
const ROUTINE = 0x3_0000;
const TABLE = 0x4_0000;
const SECTOR = 512;

type PortWrite = readonly [port: number, sizeBytes: 1 | 2 | 4, value: number];

const word = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
/** mov eax, value; ret */
const routine = (value: number) => Uint8Array.from([0xb8, ...word(value), 0xc3]);

/** mov edx, port; mov eax, value; out dx, al, ax or eax */
function out([port, sizeBytes, value]: PortWrite): number[] {
  const opcode = { 1: [0xee], 2: [0x66, 0xef], 4: [0xef] }[sizeBytes];
  return [0xba, ...word(port), 0xb8, ...word(value), ...opcode];
}

/**
 * Calls ROUTINE a thousand times, so that it is decoded and, if the engine does that, translated.
 * Then tells the device what to write and calls it again, until it returns 2; says so on the
 * debug port.
 * @param fetch what follows the port writes in each round
 */
function program(writes: readonly PortWrite[], fetch: readonly number[]): Uint8Array {
  const again = [...fetch, ...[0xb8, ...word(ROUTINE), 0xff, 0xd0], ...[0x83, 0xf8, 0x02]];
  return Uint8Array.from([
    ...[0xb9, ...word(1000)], // mov ecx, 1000
    ...[0xb8, ...word(ROUTINE), 0xff, 0xd0], // warm: mov eax, ROUTINE; call eax
    ...[0x49, 0x75, 0xf6], // dec ecx; jnz warm
    ...writes.flatMap(out),
    ...again, // again: fetch; mov eax, ROUTINE; call eax; cmp eax, 2
    ...[0x75, -(again.length + 2) & 0xff], // jne again
    ...[0xb0, 0x21, 0xe6, 0xe9, 0xfa, 0xf4], // mov al, '!'; out 0xe9, al; cli; hlt
  ]);
}

function enterFlat(machine: Machine, gpa: number): void {
  const { state } = machine.vcpu;
  state.setWide(CR0, state.cr0 | 1);
  for (let segment = 0; segment < 6; segment++) {
    const fields = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(fields, segment === 1 ? 8 : 16);
    state.set32(fields + SEG_ATTRIBUTES, segment === 1 ? 0xc09b : 0xc093);
    state.setWide(fields + 8, 0);
    state.set32(fields + 16, 0xffff_ffff);
  }
  state.eip = gpa;
  state.setReg32(4, 0x5_0000);
  machine.vcpu.synchronize();
}

let machine: Machine | undefined;
afterEach(() => machine?.close());

function create(drives: readonly DriveConfig[], isFirmware = false): Machine {
  machine = Machine.create({
    ...{ memoryBytes: 2 << 20, accelerator: interpreterAccelerator, host: new FakeHost(), drives },
    ...(isFirmware ? { firmware: { bios: new Uint8Array(0x1_0000) } } : {}),
  });
  return machine;
}

async function runToEnd(
  running: Machine,
  writes: readonly PortWrite[],
  fetch: readonly number[] = [],
): Promise<void> {
  running.addressSpace.writeBytes(CODE, program(writes, fetch));
  running.addressSpace.writeBytes(ROUTINE, routine(1));
  enterFlat(running, CODE);
  let hasEnded = false;
  running.onDebug = () => {
    hasEnded = true;
    void running.pause();
  };
  const limit = setTimeout(() => void running.pause(), 10_000);
  await running.run();
  clearTimeout(limit);
  expect(hasEnded).toBe(true);
}

function sector(): MemoryDevice {
  const bytes = new Uint8Array(2880 * SECTOR);
  bytes.set(routine(2));
  return MemoryDevice.from(bytes);
}

const disk = (): DriveConfig => ({ interface: 'ide', media: 'disk', index: 0, medium: sector() });

const readCommand = (command: number): PortWrite[] => [
  ...([[0x1f6, 1, 0xe0] as const, [0x1f2, 1, 1] as const] satisfies PortWrite[]),
  ...([[0x1f3, 1, 0] as const, [0x1f4, 1, 0] as const] satisfies PortWrite[]),
  ...([[0x1f5, 1, 0] as const, [0x1f7, 1, command] as const] satisfies PortWrite[]),
];

test('a sector that bus-master DMA puts over a running page is run', async () => {
  const running = create([disk()]);
  running.addressSpace.write(TABLE, 4, ROUTINE);
  running.addressSpace.write(TABLE + 4, 4, 0x8000_0000 | SECTOR);
  await runToEnd(running, [
    ...([[0xc044, 4, TABLE] as const, [0xc040, 1, 0x09] as const] satisfies PortWrite[]),
    ...readCommand(0xc8),
  ]);
});

test('a sector that the processor itself reads over a running page is run', async () => {
  // wait: mov edx, 0x1f7; in al, dx; test al, 0x80; jnz wait; test al, 8; jz past;
  // mov edi, ROUTINE; mov edx, 0x1f0; mov ecx, 128; cld; rep insd; past:
  const fetch = [
    ...[0xba, ...word(0x1f7), 0xec, 0xa8, 0x80, 0x75, 0xfb, 0xa8, 0x08, 0x74, 0x12],
    ...[0xbf, ...word(ROUTINE), 0xba, ...word(0x1f0), 0xb9, ...word(128), 0xfc, 0xf3, 0x6d],
  ];
  await runToEnd(create([disk()]), readCommand(0x20), fetch);
});

test('a sector that floppy DMA puts over a running page is run', async () => {
  const running = create([{ ...disk(), interface: 'floppy' }]);
  const bytes = (port: number, ...values: number[]) =>
    values.map((value): PortWrite => [port, 1, value]);
  await runToEnd(running, [
    ...[...bytes(0x3f2, 0x1c), ...bytes(0x0a, 0x06), ...bytes(0x0c, 0), ...bytes(0x0b, 0x46)],
    ...[...bytes(0x04, 0, 0), ...bytes(0x05, 0xff, 0x01), ...bytes(0x81, ROUTINE >> 16)],
    ...bytes(0x0a, 0x02),
    ...bytes(0x3f5, 0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff),
  ]);
});

test('a file that fw_cfg puts over a running page is run', async () => {
  const running = create([], true);
  const { fwCfg } = running.pc.firmware!;
  const key = 0x7000;
  fwCfg.set(key, routine(2));
  const request = Uint8Array.from([key >> 8, key & 0xff, 0, 0x0a, 0, 0, 0, 6, 0, 0, 0, 0]);
  running.addressSpace.writeBytes(TABLE, Uint8Array.from([...request, 0, ROUTINE >> 16, 0, 0]));
  const swapped = new DataView(Uint8Array.from(word(TABLE)).buffer).getUint32(0);
  await runToEnd(running, [
    [0x514, 4, 0],
    [0x518, 4, swapped],
  ]);
});
