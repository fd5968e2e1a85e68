import { beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../../test/manual-clock.ts';
import type { SlotLister } from '../accel/kvm/slot-info.ts';
import { CPUState } from '../cpu/state.ts';
import { STATE_BYTES } from '../cpu/state-layout.ts';
import type { BlockDevice } from '../devices/block/block-device.ts';
import { Drive } from '../devices/block/drive.ts';
import { MemoryDevice } from '../devices/block/memory-device.ts';
import { PCIFunction } from '../devices/pci-config.ts';
import { DIRTY_ALL } from '../memory/dirty-memory.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { MemoryRegion } from '../memory/memory-region.ts';
import { MONITOR_COMMANDS, type MonitorTarget, runMonitorLine } from './monitor.ts';
import { INFO_COMMANDS } from './monitor-info.ts';

const RAM_BYTES = 2 ** 20;

/** A machine of one RAM block; linear addresses from 0x10000 are one page higher than physical. */
class FakeMachine implements MonitorTarget {
  readonly #memory = new GuestMemory({ ramCapacityBytes: RAM_BYTES });
  readonly memory = this.#memory.addressSpace;
  readonly ports = new GuestMemory({ ramCapacityBytes: 4096, addressSpaceBytes: 0x10000 })
    .addressSpace;
  readonly ramList = this.#memory.ramList;
  readonly tlb = this.#memory.tlb;
  readonly dirty = this.#memory.dirty;
  readonly state = new CPUState(new ArrayBuffer(STATE_BYTES));
  readonly isPaging = true;
  drives: Drive[] = [
    new Drive({ id: 'ide1-cd0', media: 'cdrom', clock: new ManualClock() }),
    new Drive({
      id: 'ide0-hd0',
      media: 'disk',
      clock: new ManualClock(),
      medium: new MemoryDevice(1024, { label: 'disk.img' }),
    }),
  ];
  status = 'running';
  calls: string[] = [];

  constructor() {
    const block = this.ramList.alloc({ name: 'pc.ram', sizeBytes: RAM_BYTES });
    this.#memory.root.addSubregion(0, MemoryRegion.ram('ram', block));
  }

  translate(linear: number): number {
    return linear >= 0x10000 && linear < 0x12000 ? linear - 0x1000 : -1;
  }
  rightsOf(linear: number): string {
    return this.translate(linear) < 0 ? '' : linear === 0x10000 ? '-r-' : 'urw';
  }
  openMedium(_drive: Drive, path: string): BlockDevice {
    return new MemoryDevice(512, { label: path });
  }
  typeKeys(keys: readonly string[], holdMs?: number): boolean {
    this.calls.push(`${keys.join('+')} ${holdMs ?? 'default'}`);
    return true;
  }
  balloon: { actualBytes: number } | undefined = { actualBytes: 100 * 2 ** 20 + 4096 };
  setBalloonTarget(bytes: number): void {
    if (this.balloon === undefined) throw new RangeError('no balloon');
    this.calls.push(`balloon ${bytes}`);
  }
  saveScreen(path: string): void {
    this.calls.push(`save ${path}`);
  }
  get pci(): [number, PCIFunction][] {
    const ids = { vendorId: 0x1234, deviceId: 0x1111, revision: 2, classCode: 0x03_00_00 };
    const display = new PCIFunction('pci/02.0', ids);
    display.declareBaseAddress(0, 'memory', 0x100_0000, true);
    display.declareBaseAddress(4, 'io', 16);
    display.writeBytes(0x04, 2, 0x0002);
    display.writeBytes(0x10, 4, 0xfd00_0000);
    return [[0x10, display]];
  }
  moveMouse(dx: number, dy: number, dz: number, buttons: number): void {
    this.calls.push(`mouse ${dx} ${dy} ${dz} ${buttons}`);
  }
  powerDown(): void {
    this.calls.push('powerDown');
  }
  stop(): void {
    this.calls.push('stop');
    this.status = 'paused';
  }
  cont(): void {
    this.calls.push('cont');
  }
  reset(): void {
    this.calls.push('reset');
  }
  quit(): void {
    this.calls.push('quit');
  }
}

let machine: FakeMachine;
beforeEach(() => {
  machine = new FakeMachine();
});

test('every command of both tables runs, and is listed by help', () => {
  const help = runMonitorLine(machine, 'help') + runMonitorLine(machine, 'help info');
  for (const { name } of MONITOR_COMMANDS) expect(help).toMatch(new RegExp(`^${name} `, 'm'));
  for (const { name } of INFO_COMMANDS) {
    expect(help).toMatch(new RegExp(`^info ${name} `, 'm'));
    expect(runMonitorLine(machine, `info ${name}`)).toMatch(/^(?!Error)[\s\S]+\n$/);
  }
  const other = MONITOR_COMMANDS.filter(({ name, args }) => args === '' || name === 'help');
  for (const { name } of other) expect(runMonitorLine(machine, name)).not.toMatch(/^Error/);
  expect(machine.calls).toEqual(['stop', 'cont', 'reset', 'powerDown', 'quit']);
});

test('xp shows physical memory, and the address may be a sum', () => {
  machine.memory.writeBytes(0x1000, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  machine.state.setReg32(4, 0xff0);
  const line = '0000000000001000: 0x04030201 0x08070605\n';
  expect(runMonitorLine(machine, 'xp /2xw 0x1000')).toBe(line);
  expect(runMonitorLine(machine, 'xp/2xw 4096')).toBe(line);
  expect(runMonitorLine(machine, 'xp /2xw $esp + 0x20 - 16')).toBe(line);
});

test('x goes through the page tables, and stops where they map nothing', () => {
  machine.memory.writeBytes(0xffff, Uint8Array.of(0x11, 0x22));
  // 0x10fff and 0x11000 lie in two pages.
  expect(runMonitorLine(machine, 'x /2xb 0x10fff')).toBe('00010fff: 0x11 0x22\n');
  expect(runMonitorLine(machine, 'x /8xb 0x11ffc')).toBe(
    '00011ffc: 0x00 0x00 0x00 0x00\nCannot access memory at 0x12000\n',
  );
});

test('info mem shows runs of equal rights', () => {
  expect(runMonitorLine(machine, 'info mem')).toBe(
    '0000000000010000-0000000000011000 0000000000001000 -r-\n' +
      '0000000000011000-0000000000012000 0000000000001000 urw\n',
  );
});

test('info slots lists the memory slots, or says that there are none', () => {
  expect(runMonitorLine(machine, 'info slots')).toBe(
    'This accelerator has no memory slots: it reads the page map itself\n',
  );
  const slots: SlotLister = { slots: [], slotCountMax: 32764, exiles: [], logKind: 'bitmap' };
  expect(runMonitorLine(Object.assign(machine, { slots }), 'info slots')).toBe(
    'KVM memory slots: 0 of 32764, dirty log by bitmap\n',
  );
});

test('info shows the memory system', () => {
  machine.dirty.clear(0, RAM_BYTES, DIRTY_ALL);
  machine.memory.write(0x2000, 4, 1);
  expect(runMonitorLine(machine, 'info dirty')).toMatch(/pc\.ram +256 +1 +1 +1\n/);
  expect(runMonitorLine(machine, 'info ramblock')).toContain('pc.ram');
  expect(runMonitorLine(machine, 'info mtree')).toContain('(prio 0, ram): ram');
  expect(runMonitorLine(machine, 'info mtree -f')).toContain('FlatView');
  expect(runMonitorLine(machine, 'info status')).toBe('VM status: running\n');
});

test.each([
  ['foo', 'Unknown command "foo"'],
  ['stpo', 'did you mean "stop"'],
  ['info foo', 'Unknown command "info foo"'],
  ['info mtree -x', 'The only flag is -f'],
  ['help foo', 'Unknown command "foo"'],
  ['xp', 'Which address?'],
  ['xp /4k 0', 'no letter "k"'],
  ['xp /4x', 'Which address?'],
  ['xp 1 +', 'must be a number or a register'],
  ['xp $foo', 'must be a number or a register'],
  ['xp 0-1', 'must be from 0'],
  ['xp 0x10000000000000', 'Physical addresses end'],
  ['x 0xffffffff', 'Linear addresses end'],
  ['constructor', 'Unknown command'],
  ['xp /1xw $constructor', 'must be a number or a register'],
])('"%s" is an error, and no more: %s', (line, message) => {
  expect(runMonitorLine(machine, line)).toMatch(/^Error: .*\n$/);
  expect(runMonitorLine(machine, line)).toContain(message);
});

test('an empty line does nothing', () => {
  expect(runMonitorLine(machine, '   ')).toBe('');
});

test('a medium is put in, listed, kept while it is locked, and taken out', () => {
  const [cdrom] = machine.drives;
  expect(runMonitorLine(machine, 'info block')).toBe(
    'ide1-cd0: [not inserted]\n    Removable device: not locked\n' +
      'ide0-hd0: disk.img (raw)\n    Size: 1024 bytes\n',
  );
  expect(runMonitorLine(machine, 'change ide1-cd0 my disc.iso')).toBe('');
  expect(runMonitorLine(machine, 'info block')).toContain('ide1-cd0: my disc.iso (raw, read-only)');
  cdrom!.isLocked = () => true;
  expect(runMonitorLine(machine, 'eject ide1-cd0')).toMatch(/^Error: Drive "ide1-cd0" is locked/);
  expect(runMonitorLine(machine, 'change ide1-cd0 b')).toMatch(/^Error: .*locked/);
  expect(cdrom!.medium?.label).toBe('my disc.iso');
  expect(runMonitorLine(machine, 'eject -f ide1-cd0')).toBe('');
  expect(cdrom!.medium).toBeUndefined();
});

test('media are changed in removable drives only, and a bad image leaves the drive empty', () => {
  expect(runMonitorLine(machine, 'eject ide0-hd0')).toMatch(
    /^Error: No drive "ide0-hd0" with a removable medium/,
  );
  expect(runMonitorLine(machine, 'change')).toBe('Error: Which drive? One of ide1-cd0\n');
  expect(runMonitorLine(machine, 'change ide1-cd0')).toMatch(/^Error: Which image\?/);
  machine.openMedium = () => {
    throw new Error('Cannot open image "x": no such file');
  };
  expect(runMonitorLine(machine, 'change ide1-cd0 x')).toBe(
    'Error: Cannot open image "x": no such file\n',
  );
});

test('an image that the drive refuses is let go of', () => {
  let isClosed = false;
  const clock = new ManualClock();
  machine.drives = [new Drive({ id: 'floppy0', media: 'floppy', clock })];
  machine.openMedium = (_drive, path) => {
    const medium = new MemoryDevice(4 << 20, { label: path });
    medium.close = () => {
      isClosed = true;
    };
    return medium;
  };
  expect(runMonitorLine(machine, 'change floppy0 big.img')).toMatch(
    /^Error: .* larger than 2.88 MB/,
  );
  expect(isClosed).toBe(true);
  expect(machine.drives[0]!.medium).toBeUndefined();
});

test('balloon and info balloon', () => {
  expect(runMonitorLine(machine, 'info balloon')).toBe('balloon: actual=100\n');
  expect(runMonitorLine(machine, 'balloon 64')).toBe('');
  expect(machine.calls).toEqual(['balloon 67108864']);
  for (const bad of ['', ' -1', ' 0', ' 1.5', ' lots'])
    expect(runMonitorLine(machine, `balloon${bad}`)).toMatch(/^Error: How many MiB/);
  machine.balloon = undefined;
  expect(runMonitorLine(machine, 'balloon 64')).toBe('Error: no balloon\n');
  expect(runMonitorLine(machine, 'info balloon')).toMatch(/^Error: .* --device virtio-balloon-pci/);
});

test('sendkey types chords of known keys; screendump names a file', () => {
  expect(runMonitorLine(machine, 'sendkey ctrl-alt-delete')).toBe('');
  expect(runMonitorLine(machine, 'sendkey shift-a 500')).toBe('');
  expect(runMonitorLine(machine, 'screendump a b.png')).toBe('');
  expect(machine.calls).toEqual(['ctrl+alt+delete default', 'shift+a 500', 'save a b.png']);
  expect(runMonitorLine(machine, 'sendkey')).toMatch(/^Error: Which keys/);
  expect(runMonitorLine(machine, 'sendkey retx')).toBe(
    'Error: Unknown key "retx"; did you mean "ret"\n',
  );
  expect(runMonitorLine(machine, 'sendkey a soon')).toMatch(/^Error: The time must be/);
  expect(runMonitorLine(machine, 'screendump')).toMatch(/^Error: Which file/);
});

test('info pci lists functions with their base addresses, where they are decoded', () => {
  expect(runMonitorLine(machine, 'info pci')).toBe(
    `  Bus  0, device   2, function 0:
    VGA controller: PCI device 1234:1111
      BAR0: memory at 0xfd000000 [0xfdffffff].
      BAR4: I/O at nowhere, 0x10 bytes.
`,
  );
});

test('the power button and the mouse reach the machine; buttons stay down while it moves', () => {
  for (const line of ['system_powerdown', 'mouse_button 1', 'mouse_move 3 -4', 'mouse_move 0 0 1'])
    expect(runMonitorLine(machine, line)).toBe('');
  expect(machine.calls).toEqual(['powerDown', 'mouse 0 0 0 1', 'mouse 3 -4 0 1', 'mouse 0 0 1 1']);
  for (const line of ['mouse_move 1', 'mouse_move 1 x', 'mouse_button 8', 'mouse_button'])
    expect(runMonitorLine(machine, line)).toMatch(/^Error: /);
});
