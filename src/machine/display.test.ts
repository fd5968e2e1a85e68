import { expect, test } from 'vitest';
import { FakeHost } from '../../test/fake-host.ts';
import { type Slice, scriptedAccelerator } from '../../test/scripted-vcpu.ts';
import { DIRTY_CODE, DIRTY_MIGRATION, DIRTY_VGA } from '../memory/dirty-memory.ts';
import { Machine } from './machine.ts';

const FRAMEBUFFER = 0xfd00_0000;
const CONFIG = 0x8000_1000;
const HALT: Slice = () => ({ kind: 'halted' });

function create(slices: Slice[] = [HALT]) {
  const host = new FakeHost();
  const accelerator = scriptedAccelerator(slices);
  const machine = Machine.create({ memoryBytes: 4 << 20, accelerator, host });
  const { ports, addressSpace, screen } = machine;
  const dispi = (index: number, value: number) => {
    ports.write(0x1ce, 2, index);
    ports.write(index % 2 ? 0x1cf : 0x1d0, 2, value);
  };
  /** 1024 by 768 in 32 bits: a page is one line. */
  const setLinear = () => {
    for (const [index, value] of [
      [1, 1024],
      [2, 768],
      [3, 32],
      [4, 0x41],
    ] as const)
      dispi(index, value);
  };
  return { host, machine, ports, addressSpace, screen, dispi, setLinear };
}

test('a store to the framebuffer draws again the lines of its pages, and no other', () => {
  const { addressSpace, screen, setLinear } = create();
  setLinear();
  screen.frame();
  expect(screen.drawnLines).toBe(768);
  screen.frame();
  expect(screen.drawnLines).toBe(0);
  addressSpace.write(FRAMEBUFFER + 4096 * 7 + 40, 4, 0x00112233);
  addressSpace.writeBytes(FRAMEBUFFER + 4096 * 100 - 8, new Uint8Array(16).fill(0xff));
  const { rgba, width } = screen.frame();
  expect(screen.drawnLines).toBe(3);
  expect([...rgba.subarray((7 * width + 10) * 4, (7 * width + 10) * 4 + 4)]).toEqual([
    ...[0x11, 0x22, 0x33, 0xff],
  ]);
  screen.frame();
  expect(screen.drawnLines).toBe(0);
});

// Failure 3: a bit lost between the harvest and the next store.
test('a frame takes the VGA client only and arms its pages again for the next store', () => {
  const { machine, addressSpace, screen, setLinear } = create();
  setLinear();
  const { dirty, tlb } = machine.memory;
  const { ramOffset } = machine.pc.display.vram;
  tlb.fill(0, 0x5000, FRAMEBUFFER + 0x5000, true, true, false);
  screen.frame();
  expect(dirty.isDirty(ramOffset, 16 << 20, DIRTY_VGA)).toBe(false);
  expect(dirty.isDirty(ramOffset + 0x5000, 1, DIRTY_MIGRATION)).toBe(true);
  expect(dirty.isDirty(ramOffset + 0x5000, 1, DIRTY_CODE)).toBe(true);
  for (const line of [5, 6, 5]) {
    addressSpace.write(FRAMEBUFFER + line * 4096, 4, line);
    screen.frame();
    expect(screen.drawnLines).toBe(1);
  }
});

test('the window is I/O: text written there is on the screen, and dirty for every client', () => {
  const { machine, addressSpace, screen } = create();
  const { dirty } = machine.memory;
  const { ramOffset } = machine.pc.display.vram;
  expect(addressSpace.kindOf(0xb8000)).toBe('io');
  screen.frame();
  dirty.clear(ramOffset, 4096, DIRTY_MIGRATION);
  addressSpace.writeBytes(0xb8000 + 160, new TextEncoder().encode('Q u i r e '));
  expect(screen.text()[1]).toBe('Quire');
  expect(dirty.isDirty(ramOffset, 4096, DIRTY_MIGRATION)).toBe(true);
  screen.frame();
  expect(screen.drawnLines).toBeGreaterThan(0);
  expect(screen.drawnLines).toBeLessThan(400);
  // Planar writes outside the frame: the window beyond text's 32 KiB is not there.
  addressSpace.write(0xa0000, 4, 0x12345678);
  expect(addressSpace.read(0xa0000, 4)).toBe(0xffffffff);
  screen.frame();
  expect(screen.drawnLines).toBe(0);
});

test('a base address moves the framebuffer, and sizing it takes it away', () => {
  const { ports, addressSpace, screen, setLinear } = create();
  setLinear();
  const config = (register: number, value?: number) => {
    ports.write(0xcf8, 4, CONFIG | register);
    if (value !== undefined) ports.write(0xcfc, 4, value);
    return ports.read(0xcfc, 4);
  };
  expect(config(0x00)).toBe(0x1111_1234);
  expect(config(0x08) >>> 8).toBe(0x03_00_00);
  expect(config(0x10)).toBe(FRAMEBUFFER + 8);
  expect(config(0x10, 0xffff_ffff)).toBe(0xff00_0008);
  expect(addressSpace.kindOf(FRAMEBUFFER)).toBe('unassigned');
  config(0x10, 0xe000_0000);
  screen.frame();
  addressSpace.write(0xe000_0000 + 4096, 4, 0xffffff);
  screen.frame();
  expect(screen.drawnLines).toBe(1);
  // Over RAM, RAM stays what the processor sees.
  addressSpace.write(0x10_0000, 4, 0x1234);
  config(0x10, 0x0000_0000);
  expect(addressSpace.read(0x10_0000, 4)).toBe(0x1234);
  config(0x10, FRAMEBUFFER);
  config(0x04, 0);
  expect(addressSpace.kindOf(FRAMEBUFFER)).toBe('unassigned');
});

test('registers in memory are the ports and the Bochs interface', () => {
  const { machine, ports, addressSpace } = create();
  const base = 0xfebf_0000;
  addressSpace.write(base + 0x500 + 2 * 1, 2, 640);
  expect(machine.pc.display.vga.dispi.readRegister(1)).toBe(640);
  expect(addressSpace.read(base + 0x500, 2)).toBe(0xb0c5);
  expect(addressSpace.read(base + 0x514, 2)).toBe(256);
  addressSpace.write(base + 0x404, 2, 0x0502);
  ports.write(0x3c4, 1, 2);
  expect(ports.read(0x3c5, 1)).toBe(0x05);
  expect(addressSpace.read(base + 0x600, 4)).toBe(8);
  expect(addressSpace.read(base + 0x604, 4)).toBe(0x1e1e_1e1e);
  expect(addressSpace.read(base, 4)).toBe(0);
});

test('who looks is told of changes, at most 30 times a second, and of the last', async () => {
  let left = 400;
  const { host, machine } = create([
    (vcpu) => {
      host.timeMs += 1;
      vcpu.wiring.memory.write(0xb8000 + (left % 80) * 2, 1, 0x30 + (left % 10));
      if (--left > 0) return { kind: 'budget' };
      vcpu.wiring.memory.write(0xb8000, 1, 0x21);
      vcpu.wiring.ports.write(0x604, 2, 0x2000);
      return { kind: 'budget' };
    },
  ]);
  let last = '';
  let count = 0;
  machine.screen.onChange = () => {
    count++;
    last = machine.screen.text()[0]!;
  };
  expect(await machine.run()).toEqual({ kind: 'power-off' });
  expect(last[0]).toBe('!');
  expect(count).toBeGreaterThan(5);
  expect(count).toBeLessThanOrEqual(17);
});

test('a reset clears the text page; the state goes to another machine', () => {
  const { machine, addressSpace, screen, setLinear } = create();
  addressSpace.write(0xb8000, 1, 0x41);
  expect(screen.text()[0]).toBe('A');
  machine.reset();
  expect(screen.text()[0]).toBe('');
  setLinear();
  addressSpace.write(FRAMEBUFFER + 4096, 4, 0x123456);
  const sections = machine.pc.savables.map((each) => each.save());
  const other = create().machine;
  for (const [index, savable] of other.pc.savables.entries()) savable.restore(sections[index]!);
  other.pc.display.vram.bytes.set(machine.pc.display.vram.bytes);
  const [theirs, ours] = [other.screen.frame(), screen.frame()];
  expect([theirs.width, theirs.height]).toEqual([1024, 768]);
  // Compared as a whole: so many values one by one take seconds.
  expect(theirs.rgba.every((part, index) => part === ours.rgba[index])).toBe(true);
});
