// The options of `quire run`, and what they say together.

import type { InstructionTiming } from '../machine/run-pace.ts';
import type { DeviceConfig } from '../machine/virtio.ts';
import { ACCELERATORS, type AcceleratorName, memoryBytesMax } from './accelerators.ts';
import { DRIVE_OPTIONS, type DriveSpec, parseDrives } from './block/drive-options.ts';
import { type BootConfig, parseBoot } from './boot-options.ts';
import { UsageError } from './command.ts';
import { DEVICE_OPTIONS, parseDevices } from './device-options.ts';
import { DISPLAY_OPTIONS, type DisplayConfig, parseDisplay } from './display/display-options.ts';
import {
  FIRMWARE_OPTIONS,
  type FirmwareSpec,
  parseDebugConsole,
  parseFirmware,
} from './firmware-options.ts';
import { GUESTS, type Guest } from './guests/guest-list.ts';
import { parseICount } from './icount-option.ts';
import { type Option, parseOptions } from './options.ts';
import { parseSerials, type SerialTarget } from './serial-options.ts';
import { parseSnapshots, SNAPSHOT_OPTIONS, type SnapshotConfig } from './snapshot-options.ts';
import { suggestion } from './suggestion.ts';
import { parseChoice, parseMemorySize, parsePattern, parseSeconds } from './values.ts';

const MIB = 2 ** 20;
const MEMORY_BYTES_DEFAULT = 128 * MIB;

export const RUN_OPTIONS: readonly Option[] = [
  {
    names: ['memory', 'm'],
    argument: 'SIZE',
    summary: 'RAM: a number with K, M or G, MiB without one (default 128M)',
  },
  { names: ['guest'], argument: 'NAME', summary: 'A guest that "quire guests" lists' },
  {
    names: ['kernel'],
    argument: 'FILE',
    summary: 'Linux kernel (bzImage) or multiboot image to start',
  },
  { names: ['initrd'], argument: 'FILE', summary: 'Initial RAM disk for it' },
  { names: ['append'], argument: 'TEXT', summary: 'Command line for it' },
  ...DRIVE_OPTIONS,
  ...DEVICE_OPTIONS,
  ...FIRMWARE_OPTIONS,
  {
    names: ['boot'],
    argument: 'LIST',
    summary: 'For firmware: order=LETTERS (a floppy, c disk, d CD-ROM, n network), menu=on',
  },
  {
    names: ['serial'],
    argument: 'WHERE',
    isRepeated: true,
    summary:
      'Serial port: stdio, file:PATH or none (default stdio, with a display none);\n' +
      'given again, the next one: COM1 to COM4',
  },
  ...DISPLAY_OPTIONS,
  {
    names: ['monitor'],
    argument: 'WHERE',
    summary: 'Monitor: stdio (shares it by Ctrl-A c) or none (default stdio)',
  },
  ...SNAPSHOT_OPTIONS,
  {
    names: ['accel'],
    argument: 'NAME',
    summary:
      'What runs the processor: software (default), software,translator=off (no translation),\n' +
      "kvm (the host's kernel), or kvm:software (KVM where there is one)",
  },
  {
    names: ['icount'],
    argument: 'LIST',
    summary:
      'Time by instructions, so that a run repeats: shift=N (2^N ns each), sleep=off (HLT waits\n' +
      'for nothing)',
  },
  {
    names: ['exit-on'],
    argument: 'PATTERN',
    summary: 'Exit with 0 when serial output matches the regular expression',
  },
  { names: ['timeout'], argument: 'SECONDS', summary: 'Exit with 3 after that time' },
];

/** A command line of `quire run`, understood. Files are not opened yet. */
export interface RunConfig {
  readonly memoryBytes: number;
  readonly guest?: Guest;
  readonly kernelPath?: string;
  readonly initrdPath?: string;
  readonly append: string;
  readonly drives: readonly DriveSpec[];
  readonly devices: readonly DeviceConfig[];
  readonly boot: BootConfig;
  /** Media that are put in later are not written either. */
  readonly isSnapshot: boolean;
  /** COM1 first. */
  readonly serials: readonly SerialTarget[];
  readonly debugConsole: SerialTarget;
  /** Undefined where a kernel is started without it. */
  readonly firmware?: FirmwareSpec;
  readonly display: DisplayConfig;
  readonly hasMonitor: boolean;
  readonly snapshots: SnapshotConfig;
  /** Whether `memoryBytes` was said, and is not a default. */
  readonly isMemoryGiven: boolean;
  readonly accelerator: AcceleratorName;
  readonly instructionTiming?: InstructionTiming;
  readonly exitOn?: RegExp;
  readonly timeoutSeconds?: number;
}

function parseGuest(name: string): Guest {
  const guest = GUESTS.find((each) => each.name === name);
  if (guest !== undefined) return guest;
  const names = GUESTS.map((each) => each.name);
  const similar = suggestion(name, names);
  throw new UsageError(
    `Option "--guest" must be one that "quire guests" lists, got "${name}"${similar}`,
  );
}

/** @throws {UsageError} if an option, its value, or the combination makes no sense */
export function parseRunConfig(args: readonly string[]): RunConfig {
  const options = parseOptions(RUN_OPTIONS, args);
  const { values, positionals } = options;
  if (positionals.length > 0)
    throw new UsageError(`Unexpected "${positionals[0]}": a kernel is given with --kernel FILE`);
  const memory = values.get('memory');
  const guestName = values.get('guest');
  const kernelPath = values.get('kernel');
  const initrdPath = values.get('initrd');
  const icount = values.get('icount');
  const exitOn = values.get('exit-on');
  const timeout = values.get('timeout');

  const guest = guestName === undefined ? undefined : parseGuest(guestName);
  if (guest !== undefined && kernelPath !== undefined)
    throw new UsageError('Option "--guest" brings its own kernel: leave out "--kernel"');
  const drives = parseDrives(options);
  const hasKernel =
    kernelPath !== undefined || guest?.parts.some(({ role }) => role === 'kernel') === true;
  const hasMedium = drives.some(({ path }) => path !== undefined);
  const isFirmwareGiven = values.has('bios') || values.has('pflash');
  const snapshots = parseSnapshots(values);
  const isLoad = snapshots.loadTag !== undefined;
  if (guest === undefined && !hasKernel && !hasMedium && !isFirmwareGiven && !isLoad)
    throw new UsageError(
      'What is to run: give --kernel FILE, --cdrom, --hda or --fda FILE, ' +
        'or --guest NAME ("quire guests")',
    );
  if (snapshots.isLazy && !isLoad)
    throw new UsageError('Option "--lazy" is for "--loadvm": say which snapshot');
  if (!hasKernel && (initrdPath !== undefined || values.has('append')))
    throw new UsageError('Options "--initrd" and "--append" are for a kernel: give --kernel FILE');
  // A snapshot alone says what runs; whether it had firmware is said as for the machine it was of.
  const isSnapshotOnly = isLoad && guest === undefined && !hasMedium && !isFirmwareGiven;
  const firmware = parseFirmware(values, hasKernel || isSnapshotOnly);

  const display = parseDisplay(values);
  const hasDisplay = display.kind === 'terminal';
  const preset = hasDisplay ? 'none' : 'stdio';
  const serials = parseSerials(options.repeated.get('serial') ?? [], preset);
  const debugConsole = parseDebugConsole(values);
  if (hasDisplay && serials.some(({ kind }) => kind === 'stdio'))
    throw new UsageError('Option "--serial" must not be stdio with "--display terminal"');
  const accelerator = parseChoice('--accel', values.get('accel') ?? 'software', ACCELERATORS);
  if (icount !== undefined && accelerator.startsWith('kvm'))
    throw new UsageError(`Option "--icount" counts instructions, which "${accelerator}" does not`);
  const monitor = parseChoice('--monitor', values.get('monitor') ?? 'stdio', ['stdio', 'none']);
  return {
    memoryBytes:
      memory === undefined
        ? (guest?.memoryBytes ?? MEMORY_BYTES_DEFAULT)
        : parseMemorySize('--memory', memory, memoryBytesMax(accelerator)),
    append: values.get('append') ?? guest?.append ?? '',
    drives,
    devices: parseDevices(options),
    boot: parseBoot(values.get('boot')),
    isSnapshot: values.has('snapshot'),
    serials,
    debugConsole,
    display,
    hasMonitor: monitor === 'stdio',
    snapshots,
    isMemoryGiven: memory !== undefined,
    accelerator,
    ...(firmware === undefined ? {} : { firmware }),
    ...(guest === undefined ? {} : { guest }),
    ...(kernelPath === undefined ? {} : { kernelPath }),
    ...(initrdPath === undefined ? {} : { initrdPath }),
    ...(icount === undefined ? {} : { instructionTiming: parseICount(icount) }),
    ...(exitOn === undefined ? {} : { exitOn: parsePattern('--exit-on', exitOn) }),
    ...(timeout === undefined ? {} : { timeoutSeconds: parseSeconds('--timeout', timeout) }),
  };
}
