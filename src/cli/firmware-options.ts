// The options of `quire run` that concern firmware, and its images.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UsageError } from './command.ts';
import type { Option } from './options.ts';
import { parseOutput, type SerialTarget } from './serial-options.ts';

export const FIRMWARE_OPTIONS: readonly Option[] = [
  {
    names: ['bios'],
    argument: 'FILE',
    summary: 'Firmware to start in (default for media: SeaBIOS, fetched as "quire guests" does)',
  },
  {
    names: ['vgabios'],
    argument: 'FILE',
    summary: 'Video BIOS: an option ROM, or none (default: the one that belongs to the firmware)',
  },
  {
    names: ['pflash'],
    argument: 'FILE',
    summary: 'Flash chip in place of --bios; what the guest writes to it is kept in FILE',
  },
  {
    names: ['debugcon'],
    argument: 'WHERE',
    summary: "Firmware's log, from port 0x402: stdio, file:PATH or none (default none)",
  },
];

/** What a command line says of firmware. */
export interface FirmwareSpec {
  readonly biosPath?: string;
  /** `none` for no video BIOS. */
  readonly vgaBIOSPath?: string;
  readonly pflashPath?: string;
}

const VGA_BIOS_NAME = 'vgabios-stdvga.bin';

/**
 * Undefined if a kernel is loaded and firmware is not needed.
 * @throws {UsageError} if both are asked for, or two kinds of firmware
 */
export function parseFirmware(
  values: ReadonlyMap<string, string>,
  hasKernel: boolean,
): FirmwareSpec | undefined {
  const biosPath = values.get('bios');
  const vgaBIOSPath = values.get('vgabios');
  const pflashPath = values.get('pflash');
  if (hasKernel) {
    for (const name of ['bios', 'vgabios', 'pflash'])
      if (values.has(name))
        throw new UsageError(
          `Option "--${name}" is for machines that start from media: a kernel is started directly`,
        );
    return undefined;
  }
  if (biosPath !== undefined && pflashPath !== undefined)
    throw new UsageError('Options "--bios" and "--pflash" are for the same place: give one');
  return {
    ...(biosPath === undefined ? {} : { biosPath }),
    ...(vgaBIOSPath === undefined ? {} : { vgaBIOSPath }),
    ...(pflashPath === undefined ? {} : { pflashPath }),
  };
}

/** `--debugcon`. @throws {UsageError} */
export function parseDebugConsole(values: ReadonlyMap<string, string>): SerialTarget {
  return parseOutput('--debugcon', values.get('debugcon') ?? 'none');
}

/** Video BIOS that lies beside a BIOS image, as in the packages of SeaBIOS, or undefined. */
export function findVGABIOS(biosPath: string): string | undefined {
  const path = join(dirname(biosPath), VGA_BIOS_NAME);
  return existsSync(path) ? path : undefined;
}
