// The monitor: a table of commands, and their words in QEMU's manner. Text in, text out; where the
// text comes from is monitor-console.ts's business.

import type { SlotLister } from '../accel/kvm/slot-info.ts';
import type { JITLister } from '../accel/software/unit-text.ts';
import type { CPUState } from '../cpu/state.ts';
import type { BlockDevice } from '../devices/block/block-device.ts';
import type { Drive } from '../devices/block/drive.ts';
import { KEY_NAMES } from '../devices/key-codes.ts';
import type { PCIFunction } from '../devices/pci-config.ts';
import type { VirtioBalloon } from '../devices/virtio/virtio-balloon.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import type { DirtyMemory } from '../memory/dirty-memory.ts';
import type { RAMList } from '../memory/ram-list.ts';
import type { SoftTLB } from '../memory/soft-tlb.ts';
import { evaluateAddress } from './address-expression.ts';
import { formatDump, parseDumpFormat } from './memory-dump.ts';
import { setBalloon } from './monitor-balloon.ts';
import { changeMedium, ejectMedium } from './monitor-block.ts';
import { INFO_COMMANDS } from './monitor-info.ts';
import { type MonitorSnapshots, SNAPSHOT_COMMANDS } from './monitor-snapshot.ts';
import { suggestion } from './suggestion.ts';

/** What the monitor looks at and acts on: a machine, seen from outside. */
export interface MonitorTarget {
  readonly memory: AddressSpace;
  readonly ports: AddressSpace;
  readonly state: CPUState;
  readonly ramList: RAMList;
  readonly tlb: SoftTLB;
  readonly dirty: DirtyMemory;
  /** Absent if the accelerator has none. */
  readonly slots?: SlotLister | undefined;
  /** Absent if the accelerator translates no code. */
  readonly jit?: JITLister | undefined;
  readonly drives: readonly Drive[];
  /** Opens an image for `drive`; throws an `Error` that says why it cannot. */
  openMedium(drive: Drive, path: string): BlockDevice;
  /** Such as `running` or `paused`. */
  readonly status: string;
  /** Physical address behind a linear one, by the page tables as they are, or -1. */
  translate(linear: number): number;
  /** Whether page tables are in use at all. */
  readonly isPaging: boolean;
  /** `urw` with `-` for what is missing, for the page at `linear`; '' if it is not mapped. */
  rightsOf(linear: number): string;
  /** Types a chord; false if there is no room. Throws a `RangeError` for what is no key. */
  typeKeys(keys: readonly string[], holdMs?: number): boolean;
  readonly balloon?: Pick<VirtioBalloon, 'actualBytes'> | undefined;
  /** Asks the guest to have so much left. Throws a `RangeError` if there is no balloon. */
  setBalloonTarget(bytes: number): void;
  /** Writes the screen to a picture; throws a `RangeError` that says why it cannot. */
  saveScreen(path: string): void;
  readonly snapshots?: MonitorSnapshots;
  /** Moves the mouse, right and down, and sets which buttons are pressed. */
  moveMouse(dx: number, dy: number, dz: number, buttons: number): void;
  /** The functions on the PCI bus, by place: device number times 8, plus index. */
  readonly pci: Iterable<readonly [place: number, pciFunction: PCIFunction]>;
  /** Presses the power button. */
  powerDown(): void;
  stop(): void;
  cont(): void;
  reset(): void;
  /** Ends Quire. */
  quit(): void;
}

/** A row of the table. `run` gives the text to print; what it throws is printed as well. */
export interface MonitorCommand {
  readonly name: string;
  readonly args: string;
  readonly summary: string;
  readonly run: (target: MonitorTarget, args: readonly string[]) => string;
}

const PHYSICAL_DIGITS = 16;
const LINEAR_DIGITS = 8;
const PAGE_BYTES = 4096;
const LINEAR_BYTES = 2 ** 32;

function dumpArguments(
  target: MonitorTarget,
  args: readonly string[],
): { format: ReturnType<typeof parseDumpFormat>; address: number } {
  const [first = ''] = args;
  const hasFormat = first.startsWith('/');
  const expression = args.slice(hasFormat ? 1 : 0).join(' ');
  if (expression === '') throw new RangeError('Which address? Such as: xp /16xw 0x1000');
  return {
    format: parseDumpFormat(hasFormat ? first : '/'),
    address: evaluateAddress(expression, target.state),
  };
}

function dumpPhysical(target: MonitorTarget, args: readonly string[]): string {
  const { format, address } = dumpArguments(target, args);
  const bytes = new Uint8Array(format.count * format.sizeBytes);
  if (address + bytes.length > target.memory.sizeBytes)
    throw new RangeError(`Physical addresses end at 0x${target.memory.sizeBytes.toString(16)}`);
  target.memory.readBytes(address, bytes);
  return formatDump(bytes, address, PHYSICAL_DIGITS, format);
}

function dumpLinear(target: MonitorTarget, args: readonly string[]): string {
  const { format, address } = dumpArguments(target, args);
  const bytes = new Uint8Array(format.count * format.sizeBytes);
  if (address + bytes.length > LINEAR_BYTES)
    throw new RangeError('Linear addresses end at 0x100000000');
  for (let done = 0; done < bytes.length; ) {
    const linear = address + done;
    const gpa = target.translate(linear);
    if (gpa < 0) {
      const text = formatDump(bytes.subarray(0, done), address, LINEAR_DIGITS, format);
      return `${text}Cannot access memory at 0x${linear.toString(16)}\n`;
    }
    const end = Math.min(bytes.length, done + PAGE_BYTES - (linear % PAGE_BYTES));
    target.memory.readBytes(gpa, bytes.subarray(done, end));
    done = end;
  }
  return formatDump(bytes, address, LINEAR_DIGITS, format);
}

function info(target: MonitorTarget, [name, ...args]: readonly string[]): string {
  if (name === undefined) return list(INFO_COMMANDS, 'info ');
  const command = INFO_COMMANDS.find((each) => each.name === name);
  if (command !== undefined) return command.run(target, args);
  const names = INFO_COMMANDS.map((each) => each.name);
  throw new RangeError(`Unknown command "info ${name}"${suggestion(name, names)}`);
}

function help(_target: MonitorTarget, [name]: readonly string[]): string {
  if (name === undefined) return list(MONITOR_COMMANDS);
  if (name === 'info') return list(INFO_COMMANDS, 'info ');
  const command = MONITOR_COMMANDS.find((each) => each.name === name);
  if (command === undefined) throw new RangeError(`Unknown command "${name}"`);
  return list([command]);
}

function list(commands: readonly MonitorCommand[], prefix = ''): string {
  return commands
    .map(({ name, args, summary }) => {
      const head = `${prefix}${name}${args === '' ? '' : ` ${args}`}`;
      return `${head.padEnd(22)} ${summary}\n`;
    })
    .join('');
}

function integers(args: readonly string[], least: number, most: number): number[] {
  if (args.length < least || args.length > most || !args.every((arg) => /^-?\d{1,5}$/.test(arg)))
    throw new RangeError(
      `${least === most ? least : `${least} or ${most}`} whole numbers are needed, ` +
        `got "${args.join(' ')}"`,
    );
  return args.map(Number);
}

/** Buttons that stay pressed while the mouse is moved, for each machine. */
const pressedButtons = new WeakMap<MonitorTarget, number>();

function moveMouse(target: MonitorTarget, args: readonly string[]): string {
  const [dx, dy, dz = 0] = integers(args, 2, 3);
  target.moveMouse(dx!, dy!, dz, pressedButtons.get(target) ?? 0);
  return '';
}

function pressMouse(target: MonitorTarget, args: readonly string[]): string {
  const [buttons] = integers(args, 1, 1);
  if (buttons! < 0 || buttons! > 7)
    throw new RangeError(`The state must be 0 to 7, got ${buttons}`);
  pressedButtons.set(target, buttons!);
  target.moveMouse(0, 0, 0, buttons!);
  return '';
}

/** An action on the machine, which has nothing to say. */
function act(action: (target: MonitorTarget) => void): MonitorCommand['run'] {
  return (target) => {
    action(target);
    return '';
  };
}

function sendKey(target: MonitorTarget, [chord, hold, ...rest]: readonly string[]): string {
  if (chord === undefined || rest.length > 0)
    throw new RangeError('Which keys, and how long? Such as: sendkey ctrl-alt-delete 200');
  if (hold !== undefined && !/^\d+$/.test(hold))
    throw new RangeError(`The time must be a number of ms, got "${hold}"`);
  const keys = chord.split('-');
  for (const key of keys)
    if (!KEY_NAMES.includes(key))
      throw new RangeError(`Unknown key "${key}"${suggestion(key, KEY_NAMES)}`);
  if (!target.typeKeys(keys, hold === undefined ? undefined : Number(hold)))
    throw new RangeError('Too many keys wait already');
  return '';
}

function screenDump(target: MonitorTarget, args: readonly string[]): string {
  const path = args.join(' ');
  if (path === '') throw new RangeError('Which file? Such as: screendump screen.png');
  target.saveScreen(path);
  return '';
}

export const MONITOR_COMMANDS: readonly MonitorCommand[] = [
  { name: 'help', args: '[CMD]', summary: 'This list, or one command', run: help },
  { name: 'info', args: 'WHAT', summary: 'Show the state; "help info" lists it', run: info },
  {
    name: 'xp',
    args: '/FMT ADDR',
    summary: 'Physical memory: COUNT, x d u o or c, b h w or g; xp /16xw 0x1000',
    run: dumpPhysical,
  },
  { name: 'x', args: '/FMT ADDR', summary: 'The same by linear address', run: dumpLinear },
  { name: 'stop', args: '', summary: 'Pause the machine', run: act((target) => target.stop()) },
  { name: 'cont', args: '', summary: 'Let it run on', run: act((target) => target.cont()) },
  { name: 'system_reset', args: '', summary: 'Reset it', run: act((target) => target.reset()) },
  {
    name: 'system_powerdown',
    args: '',
    summary: 'Press its power button: an operating system that listens shuts down',
    run: act((target) => target.powerDown()),
  },
  {
    name: 'mouse_move',
    args: 'DX DY [DZ]',
    summary: 'Move the mouse, right and down, and turn its wheel',
    run: moveMouse,
  },
  {
    name: 'mouse_button',
    args: 'STATE',
    summary: 'Mouse buttons that are pressed: 1 left, 2 right, 4 middle, or a sum',
    run: pressMouse,
  },
  {
    name: 'change',
    args: 'DRIVE FILE',
    summary: 'Put another medium into a drive that "info block" lists',
    run: changeMedium,
  },
  {
    name: 'eject',
    args: '[-f] DRIVE',
    summary: 'Take the medium out; -f: though the guest has locked it',
    run: ejectMedium,
  },
  {
    name: 'balloon',
    args: 'MIB',
    summary: 'Ask the guest to have so much of its RAM left',
    run: setBalloon,
  },
  {
    name: 'sendkey',
    args: 'KEYS [MS]',
    summary: 'Type a chord such as ctrl-alt-f1, held for 100 ms of virtual time or as long',
    run: sendKey,
  },
  {
    name: 'screendump',
    args: 'FILE',
    summary: 'Write the screen to a picture, .png or .ppm',
    run: screenDump,
  },
  ...SNAPSHOT_COMMANDS,
  { name: 'quit', args: '', summary: 'Leave Quire', run: act((target) => target.quit()) },
];

/** QEMU's short forms. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['c', 'cont'],
  ['s', 'stop'],
  ['q', 'quit'],
  ['?', 'help'],
]);

/** Runs one line and returns what it prints, lines ended; never throws for what was typed. */
export function runMonitorLine(target: MonitorTarget, line: string): string {
  const [typed, ...args] = line.trim().split(/\s+/);
  if (typed === undefined || typed === '') return '';
  // `x/4xw 0` is as good as `x /4xw 0`.
  const [, word, format] = /^([^/]*)(\/.*)?$/.exec(typed)!;
  const name = ALIASES.get(word!) ?? word!;
  try {
    const command = MONITOR_COMMANDS.find((each) => each.name === name);
    if (command === undefined) {
      const names = MONITOR_COMMANDS.map((each) => each.name);
      throw new RangeError(`Unknown command "${name}"${suggestion(name, names)}; try "help"`);
    }
    return command.run(target, format === undefined ? args : [format, ...args]);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `Error: ${error.message}\n`;
  }
}
