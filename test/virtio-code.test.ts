// Devices that write a page from which the processor runs, each through its registers, as a guest
// would have them do it.

import { afterEach, expect, test } from 'vitest';
import { softwareAccelerator } from '../src/accel/software/index.ts';
import { CR0, SEG_ATTRIBUTES, SEGMENT, SEGMENT_BYTES } from '../src/cpu/state-layout.ts';
import { MemoryDevice } from '../src/devices/block/memory-device.ts';
import { Machine } from '../src/machine/machine.ts';
import type { DeviceConfig } from '../src/machine/virtio.ts';
import { FakeHost } from './fake-host.ts';
import { RingDriver } from './virtio-driver.ts';

const RINGS = 0x1_0000;
const CODE = 0x2_0000;
const ROUTINE = 0x3_0000;
const REQUEST = 0x4_0000;
const COMMON_CONFIG = { status: 0x14, size: 0x18, enable: 0x1c, queues: 0x20 } as const;
const NOTIFY = 0x3000;

const word = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
/** mov eax, value; ret */
const routine = (value: number) => Uint8Array.from([0xb8, ...word(value), 0xc3]);

/**
 * Calls ROUTINE a thousand times, so that it is decoded and, if the engine does that, translated.
 * Then notifies the device and calls it again, until it returns 2; says so on the debug port.
 */
function program(notifyGPA: number): Uint8Array {
  return Uint8Array.from([
    ...[0xb9, ...word(1000)], // mov ecx, 1000
    ...[0xb8, ...word(ROUTINE), 0xff, 0xd0], // again: mov eax, ROUTINE; call eax
    ...[0x49, 0x75, 0xf6], // dec ecx; jnz again
    ...[0x31, 0xc0, 0xa3, ...word(notifyGPA)], // more: xor eax, eax; mov [notify], eax
    ...[0xb8, ...word(ROUTINE), 0xff, 0xd0], // mov eax, ROUTINE; call eax
    ...[0x83, 0xf8, 0x02, 0x75, 0xed], // cmp eax, 2; jne more
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

/** A machine whose first virtio device has a queue in RINGS; where to notify it. */
function start(options: { devices?: DeviceConfig[]; medium?: MemoryDevice }) {
  const { devices = [], medium } = options;
  machine = Machine.create({
    ...{ memoryBytes: 2 << 20, accelerator: softwareAccelerator, host: new FakeHost(), devices },
    drives: medium === undefined ? [] : [{ interface: 'virtio', media: 'disk', index: 0, medium }],
  });
  const { addressSpace, pc } = machine;
  const { config } = pc.virtio.functions[0]!;
  config.writeByte(4, 7);
  const bar = config.addressOf(4)!;
  const driver = new RingDriver(addressSpace, RINGS, 8);
  const set = (offset: number, sizeBytes: number, value: number) =>
    addressSpace.write(bar + offset, sizeBytes, value);
  set(0x08, 4, 1);
  set(0x0c, 4, 1);
  set(COMMON_CONFIG.status, 1, 0x0b);
  set(COMMON_CONFIG.size, 2, driver.size);
  for (const [i, gpa] of [driver.descriptors, driver.available, driver.used].entries())
    set(COMMON_CONFIG.queues + 8 * i, 4, gpa);
  set(COMMON_CONFIG.enable, 2, 1);
  set(COMMON_CONFIG.status, 1, 0x0f);
  addressSpace.writeBytes(CODE, program(bar + NOTIFY));
  addressSpace.writeBytes(ROUTINE, routine(1));
  return { driver, addressSpace, machine };
}

async function runToEnd(running: Machine): Promise<void> {
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

test('entropy over a running page is run', async () => {
  const fillRandom = (bytes: Uint8Array) => bytes.set(routine(2).subarray(0, bytes.length));
  const context = start({ devices: [{ kind: 'virtio-rng-pci', fillRandom }] });
  context.driver.add([{ gpa: ROUTINE, sizeBytes: 6, isWritable: true }]);
  await runToEnd(context.machine);
  expect(context.driver.collect()).toHaveLength(1);
});

test('sectors read over a running page are run', async () => {
  const medium = MemoryDevice.from(routine(2));
  const context = start({ medium });
  context.driver.add([
    { gpa: REQUEST, sizeBytes: 16, isWritable: false },
    { gpa: ROUTINE, sizeBytes: 512, isWritable: true },
    { gpa: REQUEST + 16, sizeBytes: 1, isWritable: true },
  ]);
  await runToEnd(context.machine);
  expect(context.driver.collect()).toEqual([{ head: 0, writtenBytes: 513 }]);
});

test('a running page that goes into the balloon runs as zeros', async () => {
  const context = start({ devices: [{ kind: 'virtio-balloon-pci' }] });
  const { addressSpace, driver } = context;
  // Zeros are "add [eax], al", here without effect, up to the next page.
  addressSpace.writeBytes(ROUTINE + 4096, routine(2));
  addressSpace.write(REQUEST, 4, ROUTINE >> 12);
  driver.add([{ gpa: REQUEST, sizeBytes: 4, isWritable: false }]);
  await runToEnd(context.machine);
  expect(driver.collect()).toHaveLength(1);
  const page = new Uint8Array(4096);
  addressSpace.readBytes(ROUTINE, page);
  expect(page.every((byte) => byte === 0)).toBe(true);
});

test('the balloon takes no page of ROM, of the display, or beyond memory', () => {
  const context = start({ devices: [{ kind: 'virtio-balloon-pci' }] });
  const { addressSpace, driver } = context;
  const { vram } = context.machine.pc.display;
  vram.bytes.fill(0x55);
  const framebuffer = context.machine.pc.display.config.addressOf(0)!;
  expect(addressSpace.read(framebuffer, 1)).toBe(0x55);
  const pages = [framebuffer / 4096, 0xffff_ffff, 0xf_ffff, 0xa0, 0x200];
  for (const [i, page] of pages.entries()) addressSpace.write(REQUEST + 4 * i, 4, page);
  driver.add([{ gpa: REQUEST, sizeBytes: 4 * pages.length, isWritable: false }]);
  addressSpace.write(context.machine.pc.virtio.functions[0]!.config.addressOf(4)! + NOTIFY, 2, 0);
  expect(driver.collect()).toHaveLength(1);
  expect(addressSpace.read(framebuffer, 1)).toBe(0x55);
});

test('setBalloonTarget() asks the guest, and needs a balloon', () => {
  const { machine: running } = start({ devices: [{ kind: 'virtio-balloon-pci' }] });
  running.setBalloonTarget(1 << 20);
  expect(running.pc.virtio.balloon!.targetBytes).toBe(1 << 20);
  const { machine: bare } = start({ medium: new MemoryDevice(512) });
  expect(() => bare.setBalloonTarget(1)).toThrow(/Cannot set balloon as the machine must have one/);
});

test('two balloons, and more devices than the bus has places, are refused', () => {
  const create = (devices: DeviceConfig[]) => () =>
    Machine.create({
      ...{ memoryBytes: 1 << 20, accelerator: softwareAccelerator, host: new FakeHost() },
      devices,
    });
  const balloon = { kind: 'virtio-balloon-pci' } as const;
  expect(create([balloon, balloon])).toThrow(/one balloon at most/);
  const rng = { kind: 'virtio-rng-pci', fillRandom: () => {} } as const;
  expect(create(new Array(40).fill(rng))).toThrow(/must have a free place/);
});
