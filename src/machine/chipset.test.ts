import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FakeHost } from '../../test/fake-host.ts';
import { fuzzOptions } from '../../test/fuzz-options.ts';
import { scriptedAccelerator } from '../../test/scripted-vcpu.ts';
import { PAM_SEGMENTS } from '../devices/i440fx.ts';
import { DIRTY_MIGRATION } from '../memory/dirty-memory.ts';
import { Machine } from './machine.ts';

const MIB = 2 ** 20;
const RAM_BYTES = 2 * MIB;
const SHADOW_START = 0xc_0000;
const SHADOW_BYTES = 0x4_0000;
const VGA = 2;

/** A BIOS whose every byte tells where it is. */
function createBIOS(): Uint8Array {
  return Uint8Array.from({ length: 0x4_0000 }, (_, i) => (i * 7 + (i >> 8) * 13 + 1) & 0xff);
}

function createMachine(memoryBytes = RAM_BYTES): Machine {
  const vgaBIOS = new Uint8Array(0x1_0000).fill(0x77);
  return Machine.create({
    memoryBytes,
    accelerator: scriptedAccelerator([() => ({ kind: 'halted' })]),
    host: new FakeHost(),
    firmware: { bios: createBIOS(), vgaBIOS },
  });
}

function select(machine: Machine, device: number, index: number, register: number): void {
  const place = (device << 11) | (index << 8) | (register & 0xfc);
  machine.ports.write(0xcf8, 4, (0x8000_0000 | place) >>> 0);
}

function writeConfig(
  machine: Machine,
  [device, index]: readonly [number, number],
  register: number,
  sizeBytes: number,
  value: number,
): void {
  select(machine, device, index, register);
  machine.ports.write(0xcfc + (register & 3), sizeBytes, value);
}

function readConfig(
  machine: Machine,
  [device, index]: readonly [number, number],
  register: number,
  sizeBytes: number,
): number {
  select(machine, device, index, register);
  return machine.ports.read(0xcfc + (register & 3), sizeBytes);
}

const HOST = [0, 0] as const;
const ISA = [1, 0] as const;
const POWER = [1, 3] as const;
const DISPLAY = [VGA, 0] as const;

/** What 0xc0000–0xfffff must hold: two arrays, and who answers in each segment. */
class ShadowModel {
  readonly ram = new Uint8Array(SHADOW_BYTES);
  readonly bus = new Uint8Array(SHADOW_BYTES);
  readonly modes = new Array<number>(PAM_SEGMENTS.length).fill(0);

  constructor() {
    this.bus.set(createBIOS().subarray(0x2_0000), 0x2_0000);
  }

  setRegister(register: number, value: number): void {
    if (register === 0) this.modes[0] = (value >> 4) & 3;
    else {
      this.modes[2 * register - 1] = value & 3;
      this.modes[2 * register] = (value >> 4) & 3;
    }
  }

  #mode(gpa: number): number {
    const at = PAM_SEGMENTS.findIndex(
      ({ start, sizeBytes }) => gpa >= start && gpa < start + sizeBytes,
    );
    return this.modes[at]!;
  }

  read(gpa: number): number {
    return (this.#mode(gpa) & 1 ? this.ram : this.bus)[gpa - SHADOW_START]!;
  }

  write(gpa: number, value: number): void {
    if (this.#mode(gpa) & 2) this.ram[gpa - SHADOW_START] = value;
  }
}

test('every PAM register in every mode sends reads and writes to RAM or to the bus', () => {
  const machine = createMachine();
  const model = new ShadowModel();
  const { addressSpace } = machine;
  const probes = PAM_SEGMENTS.flatMap(({ start, sizeBytes }) => [start, start + sizeBytes - 1]);
  let stamp = 0;
  for (let register = 0; register < 7; register++)
    for (let value = 0; value < 0x100; value += value < 0x34 ? 1 : 0x11) {
      writeConfig(machine, HOST, 0x59 + register, 1, value);
      model.setRegister(register, value);
      expect(readConfig(machine, HOST, 0x59 + register, 1)).toBe(
        value & (register === 0 ? 0x30 : 0x33),
      );
      for (const gpa of probes) {
        stamp = (stamp + 1) & 0xff;
        addressSpace.write(gpa, 1, stamp);
        model.write(gpa, stamp);
        if (addressSpace.read(gpa, 1) !== model.read(gpa))
          expect([register, value, gpa, addressSpace.read(gpa, 1)]).toEqual([
            ...[register, value, gpa],
            model.read(gpa),
          ]);
      }
    }
  for (let gpa = SHADOW_START; gpa < SHADOW_START + SHADOW_BYTES; gpa += 61)
    expect(addressSpace.read(gpa, 1)).toBe(model.read(gpa));
});

const shadowAction = fc.oneof(
  fc.record({
    kind: fc.constant('pam' as const),
    register: fc.nat({ max: 6 }),
    value: fc.nat({ max: 0xff }),
  }),
  fc.record({
    kind: fc.constantFrom('read' as const, 'write' as const),
    gpa: fc
      .tuple(fc.nat({ max: 15 }), fc.integer({ min: -4, max: 8 }))
      .map(([page, near]) => SHADOW_START + page * 0x4000 + near)
      .filter((gpa) => gpa >= SHADOW_START && gpa < SHADOW_START + SHADOW_BYTES - 4),
    sizeBytes: fc.constantFrom(1, 2, 4),
    value: fc.nat({ max: 0xffff_ffff }),
  }),
);

test('failure 39: shadowed memory is as a naive model has it, across segments too', () => {
  const machine = createMachine();
  fc.assert(
    fc.property(fc.array(shadowAction, { maxLength: 60 }), (actions) => {
      machine.reset();
      machine.pc.ram.bytes.fill(0, SHADOW_START, SHADOW_START + SHADOW_BYTES);
      const model = new ShadowModel();
      for (const action of actions) {
        if (action.kind === 'pam') {
          writeConfig(machine, HOST, 0x59 + action.register, 1, action.value);
          model.setRegister(action.register, action.value);
          continue;
        }
        const { gpa, sizeBytes, value } = action;
        const bytes = Array.from({ length: sizeBytes }, (_, i) => i);
        if (action.kind === 'write') {
          machine.addressSpace.write(gpa, sizeBytes, value);
          for (const i of bytes) model.write(gpa + i, (value >>> (8 * i)) & 0xff);
        } else {
          const expected = bytes.reduce((sum, i) => sum + model.read(gpa + i) * 256 ** i, 0);
          expect(machine.addressSpace.read(gpa, sizeBytes)).toBe(expected);
        }
      }
      const ram = machine.pc.ram.bytes.subarray(SHADOW_START, SHADOW_START + SHADOW_BYTES);
      expect(ram.findIndex((byte, at) => byte !== model.ram[at])).toBe(-1);
    }),
    fuzzOptions(60),
  );
});

// Goal: dirty bits and code are of RAM, not of addresses; a write that went nowhere leaves none.
test('failure 39: a write to shadow RAM marks its page, whichever way it went; to ROM none', () => {
  const machine = createMachine();
  const { dirty } = machine.memory;
  const { ramOffset, sizeBytes } = machine.pc.ram;
  const gpa = 0xf_1234;
  const page = (ramOffset + gpa) >>> 12;
  for (const [value, isMarked] of [
    [0x00, false],
    [0x10, false],
    [0x20, true],
    [0x30, true],
  ] as const) {
    writeConfig(machine, HOST, 0x59, 1, value);
    dirty.clear(ramOffset, sizeBytes, DIRTY_MIGRATION);
    machine.addressSpace.write(gpa, 1, 0x5a);
    const pages = [...dirty.harvest(DIRTY_MIGRATION, ramOffset, sizeBytes).pages()];
    expect([value, pages]).toEqual([value, isMarked ? [page] : []]);
  }
});

test('SMRAM shows RAM behind the VGA window while open, and a lock closes it until reset', () => {
  const machine = createMachine();
  const read = () => machine.addressSpace.read(0xa_0000, 1);
  machine.pc.ram.bytes[0xa_0000] = 0x5a;
  const before = read();
  expect(before).not.toBe(0x5a);
  writeConfig(machine, HOST, 0x72, 1, 0x4a);
  expect(read()).toBe(0x5a);
  writeConfig(machine, HOST, 0x72, 1, 0x0a);
  expect(read()).toBe(before);
  writeConfig(machine, HOST, 0x72, 1, 0x5a);
  expect(readConfig(machine, HOST, 0x72, 1)).toBe(0x1a);
  writeConfig(machine, HOST, 0x72, 1, 0x4a);
  expect(readConfig(machine, HOST, 0x72, 1)).toBe(0x1a);
  expect(read()).toBe(before);
  machine.reset();
  writeConfig(machine, HOST, 0x72, 1, 0x4a);
  expect(read()).toBe(0x5a);
});

/** Bytes behind the VGA's windows, so that each tells which one it is. */
const MARKS = { framebuffer: 0x11, rom: 0x77 } as const;

test('a base address asks for its size, moves its region, and lets go of the old place', () => {
  const machine = createMachine();
  const { vram } = machine.pc.display;
  vram.bytes.fill(MARKS.framebuffer);
  const read = (gpa: number) => machine.addressSpace.read(gpa, 1);
  writeConfig(machine, DISPLAY, 0x10, 4, 0xffff_ffff);
  expect(readConfig(machine, DISPLAY, 0x10, 4)).toBe(0xff00_0008);
  writeConfig(machine, DISPLAY, 0x18, 4, 0xffff_ffff);
  expect(readConfig(machine, DISPLAY, 0x18, 4)).toBe(0xffff_f000);
  writeConfig(machine, DISPLAY, 0x30, 4, 0xffff_fffe);
  expect(readConfig(machine, DISPLAY, 0x30, 4)).toBe(0xffff_0000);
  writeConfig(machine, DISPLAY, 0x10, 4, 0xe000_0000);
  expect(read(0xe000_0000)).toBe(0xff); // Decoding is off.
  writeConfig(machine, DISPLAY, 0x04, 2, 0x0002);
  expect(read(0xe000_0000)).toBe(MARKS.framebuffer);
  expect(read(0xe0ff_ffff)).toBe(MARKS.framebuffer);
  expect(read(0xe100_0000)).toBe(0xff);
  writeConfig(machine, DISPLAY, 0x10, 4, 0xf000_0000);
  expect(read(0xe000_0000)).toBe(0xff);
  expect(read(0xf000_0000)).toBe(MARKS.framebuffer);
  writeConfig(machine, DISPLAY, 0x30, 4, 0xf000_0001);
  expect([read(0xf000_0000), read(0xf001_0000)]).toEqual([MARKS.rom, MARKS.framebuffer]);
  machine.reset();
  expect(read(0xf000_0000)).toBe(0xff);
});

test('RAM wins over a base address that a guest moves over it, and stays as it was', () => {
  const machine = createMachine();
  machine.pc.ram.bytes[0x10_0000] = 0x5a;
  machine.pc.display.vram.bytes.fill(MARKS.framebuffer);
  writeConfig(machine, DISPLAY, 0x04, 2, 0x0002);
  // Its last 14 MiB lie behind the end of RAM.
  writeConfig(machine, DISPLAY, 0x10, 4, 0x0100_0000);
  expect(machine.addressSpace.read(0x0100_0000, 1)).toBe(MARKS.framebuffer);
  writeConfig(machine, DISPLAY, 0x18, 4, 0x0010_0000);
  expect(machine.addressSpace.read(0x10_0000, 1)).toBe(0x5a);
  machine.addressSpace.write(0x10_0000, 1, 0x66);
  expect(machine.pc.ram.bytes[0x10_0000]).toBe(0x66);
});

const MOVE_BASES = [0, 0x10_0000, 0x0100_0000, 0xc000_0000, 0xe000_0000, 0xfd00_0000, 0xff00_0000];

// Goal: failure 40. Windows of one function overlap each other and RAM in every way.
test('failure 40: moved windows are where a naive painter has them, with every store kept', () => {
  const machine = createMachine();
  const { vram } = machine.pc.display;
  const move = fc.record({
    register: fc.constantFrom(0x04, 0x10, 0x30),
    base: fc.constantFrom(...MOVE_BASES),
    shift: fc.nat({ max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(move, { maxLength: 25 }), fc.nat({ max: 0xff }), (moves, stamp) => {
      machine.reset();
      vram.bytes[0] = MARKS.framebuffer;
      let framebuffer = 0;
      let rom = 0;
      let command = 0;
      for (const { register, base, shift } of moves) {
        if (register === 0x04) command = shift & 2;
        else if (register === 0x10) framebuffer = base - (base % 0x100_0000);
        else rom = base + shift * 0x1_0000;
        const value = register === 0x04 ? command : register === 0x10 ? framebuffer : rom | 1;
        writeConfig(machine, DISPLAY, register, 4, value >>> 0);
      }
      const paint = (gpa: number): number | undefined => {
        if (gpa < RAM_BYTES) return undefined;
        if (gpa >= 0xfffc_0000) return undefined;
        if ((command & 2) === 0) return 0xff;
        if (rom !== 0 && gpa >= rom && gpa < rom + 0x1_0000) return MARKS.rom;
        const isShown = framebuffer !== 0 && framebuffer + 0x100_0000 < 2 ** 32;
        if (isShown && gpa === framebuffer) return MARKS.framebuffer;
        return isShown && gpa > framebuffer && gpa < framebuffer + 0x100_0000 ? undefined : 0xff;
      };
      for (const base of MOVE_BASES)
        for (let shift = 0; shift < 4; shift++) {
          const gpa = base + shift * 0x1_0000;
          const expected = paint(gpa);
          const found = machine.addressSpace.read(gpa, 1);
          if (expected !== undefined) expect([gpa, found]).toEqual([gpa, expected]);
        }
      if ((command & 2) !== 0 && framebuffer >= 0xc000_0000 && framebuffer < 0xff00_0000) {
        const at = framebuffer + 0x80_0000;
        machine.addressSpace.write(at, 1, stamp);
        expect(vram.bytes[0x80_0000]).toBe(stamp);
      }
    }),
    fuzzOptions(150),
  );
});

test('power management and SMBus registers are where their bases say', () => {
  const machine = createMachine();
  expect(machine.ports.read(0x608, 4)).toBe(0xffff_ffff);
  writeConfig(machine, POWER, 0x40, 4, 0xb001);
  expect(readConfig(machine, POWER, 0x40, 4)).toBe(0xb001);
  writeConfig(machine, POWER, 0x80, 1, 1);
  expect(machine.ports.read(0xb008, 4)).toBeLessThan(0x100_0000);
  writeConfig(machine, POWER, 0x90, 4, 0x701);
  writeConfig(machine, POWER, 0xd2, 1, 9);
  expect(machine.ports.read(0x700, 1)).toBe(0);
  machine.ports.write(0x702, 1, 0x48); // A transfer: nobody answers.
  expect(machine.ports.read(0x700, 1)).toBe(0x04);
  machine.ports.write(0x700, 1, 0x04);
  expect(machine.ports.read(0x700, 1)).toBe(0);
  writeConfig(machine, POWER, 0x40, 4, 0x600);
  expect(machine.ports.read(0xb008, 4)).toBe(0xffff_ffff);
  expect(machine.ports.read(0x608, 4)).toBeLessThan(0x100_0000);
});

test('PCI pins reach the ISA interrupts of their routes, shared until the last lets go', () => {
  const machine = createMachine();
  const { bus } = machine.pc.chipset;
  const { slave } = machine.pc.pics;
  const level = (irq: number) => (slave.state.lines >> (irq - 8)) & 1;
  const a = bus.interruptLine(3, 0); // PIRQC
  const b = bus.interruptLine(7, 0); // PIRQC too
  a.raise();
  expect([level(10), level(11)]).toEqual([0, 0]);
  writeConfig(machine, ISA, 0x62, 1, 10);
  expect([level(10), level(11)]).toEqual([1, 0]);
  b.raise();
  a.lower();
  writeConfig(machine, ISA, 0x62, 1, 11);
  expect([level(10), level(11)]).toEqual([0, 1]);
  writeConfig(machine, ISA, 0x62, 1, 0x80 | 11);
  expect(level(11)).toBe(0);
  writeConfig(machine, ISA, 0x62, 1, 8); // Reserved.
  expect(level(8)).toBe(0);
  writeConfig(machine, ISA, 0x62, 1, 11);
  b.lower();
  expect(level(11)).toBe(0);
});

const configAccess = fc.record({
  place: fc.constantFrom(HOST, ISA, [1, 1] as const, POWER, DISPLAY, [31, 7] as const),
  register: fc.nat({ max: 0xff }),
  sizeBytes: fc.constantFrom(1, 2, 4),
  value: fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.constantFrom(0, 0xffff_ffff, 0x3333_3333)),
});

test('random writes to all configuration registers do no harm; the machine resets whole', () => {
  const machine = createMachine();
  const fresh = machine.addressSpace.view.sections.map(({ start, sizeBytes }) => [
    start,
    sizeBytes,
  ]);
  fc.assert(
    fc.property(fc.array(configAccess, { maxLength: 80 }), (accesses) => {
      for (const { place, register, sizeBytes, value } of accesses) {
        writeConfig(machine, place, register & -sizeBytes, sizeBytes, value);
        expect(readConfig(machine, place, register & -sizeBytes, sizeBytes)).toBeGreaterThanOrEqual(
          0,
        );
        machine.addressSpace.write(value, 4, value);
        machine.addressSpace.read(value & -4, 4);
        machine.ports.read(value & 0xfffc, 4);
      }
      const saved = machine.pc.savables.map((one) => one.save());
      machine.pc.savables.forEach((one, i) => void one.restore(saved[i]!));
      const twice = machine.pc.savables.map((one) => one.save());
      expect(twice).toEqual(saved);
      machine.reset();
      const view = machine.addressSpace.view.sections;
      expect(view.map(({ start, sizeBytes }) => [start, sizeBytes])).toEqual(fresh);
    }),
    fuzzOptions(40),
  );
});

// Goal: failure 37. The chip is seen at two places, and switches while both are cached.
test('failure 37: a flash chip is memory, or answers, at both its places at once', () => {
  const changes: [number, number[]][] = [];
  const image = createBIOS();
  const machine = Machine.create({
    memoryBytes: RAM_BYTES,
    accelerator: scriptedAccelerator([() => ({ kind: 'halted' })]),
    host: new FakeHost(),
    firmware: {
      flash: { image, onChange: (offset, bytes) => void changes.push([offset, [...bytes]]) },
    },
  });
  const { addressSpace, memory } = machine;
  const low = 0xf_0010;
  const high = 0xffff_0010;
  const offset = 0x3_0010;
  const both = () => [addressSpace.read(low, 1), addressSpace.read(high, 1)];
  expect(both()).toEqual([image[offset], image[offset]]);
  addressSpace.write(low, 1, 0x70);
  expect(both()).toEqual([0x80, 0x80]);
  addressSpace.write(high, 1, 0x40);
  memory.dirty.clear(0, memory.ramList.capacityBytes, DIRTY_MIGRATION);
  addressSpace.write(high, 1, 0x00);
  const block = memory.ramList.byId('system.flash0')!;
  expect(memory.dirty.isDirty(block.ramOffset + offset, 1, DIRTY_MIGRATION)).toBe(true);
  addressSpace.write(low, 1, 0xff);
  expect(both()).toEqual([0, 0]);
  expect(changes).toEqual([[offset, [0]]]);
  // A write to the chip in read-array mode is a command, and changes no byte.
  addressSpace.write(high + 1, 1, 0x00);
  expect(addressSpace.read(high + 1, 1)).toBe(image[offset + 1]);
  addressSpace.write(low, 1, 0x90);
  machine.reset();
  expect(both()).toEqual([0, 0]);
});

test.each([
  ['', 0x12, 0x30],
  ['a', 0x01, 0x00],
  ['dca', 0x23, 0x10],
  ['cdn', 0x32, 0x40],
])('CMOS memory tells the order of boot "%s", and asks for signatures', (order, low, high) => {
  const machine = Machine.create({
    memoryBytes: RAM_BYTES,
    accelerator: scriptedAccelerator([() => ({ kind: 'halted' })]),
    host: new FakeHost(),
    firmware: { bios: createBIOS(), bootOrder: order },
  });
  const cmos = (index: number) => {
    machine.ports.write(0x70, 1, index);
    return machine.ports.read(0x71, 1);
  };
  expect([cmos(0x3d), cmos(0x38)]).toEqual([low, high]);
});

test('BIOS images of odd sizes, and firmware together with a kernel, are refused', () => {
  const create = (bios: Uint8Array, kernel?: Uint8Array) => () =>
    Machine.create({
      memoryBytes: RAM_BYTES,
      accelerator: scriptedAccelerator([() => ({ kind: 'halted' })]),
      host: new FakeHost(),
      firmware: { bios },
      ...(kernel === undefined ? {} : { kernel }),
    });
  for (const length of [0, 1, 0x1_0001, 0x2_fff0, 17 * MIB])
    expect(create(new Uint8Array(length))).toThrow(
      'Cannot boot BIOS: the image must be a multiple of 64 KiB and at most 16 MiB, ' +
        `it is ${length}`,
    );
  expect(create(createBIOS(), new Uint8Array(1))).toThrow('firmware or a kernel, not both');
  expect(create(createBIOS())).not.toThrow();
});
