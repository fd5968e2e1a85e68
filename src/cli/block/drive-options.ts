// Drives on the command line, by QEMU's names: --hda … --hdd, --cdrom, --fda, --fdb, --drive. QEMU
// documentation, "Invocation", "Block device options".

import type { DriveConfig } from '../../machine/storage.ts';
import { UsageError } from '../command.ts';
import type { Option, ParsedOptions } from '../options.ts';
import { suggestion } from '../suggestion.ts';
import { parseChoice } from '../values.ts';

/** A drive whose image is not opened yet. */
export interface DriveSpec {
  readonly interface: DriveConfig['interface'];
  readonly media: DriveConfig['media'];
  readonly index: number;
  /** None for an empty drive. */
  readonly path?: string;
  readonly isReadOnly: boolean;
  /** Writes go nowhere that outlives the run. */
  readonly isSnapshot: boolean;
}

export const DRIVE_OPTIONS: readonly Option[] = [
  ...['hda', 'hdb', 'hdc', 'hdd'].map((name, index) => ({
    names: [name],
    argument: 'FILE',
    summary: `Raw image of IDE disk ${index}`,
  })),
  {
    names: ['cdrom'],
    argument: 'FILE',
    summary: 'ISO image in the CD-ROM drive (in place of hdc)',
  },
  { names: ['fda'], argument: 'FILE', summary: 'Image in the first floppy drive' },
  { names: ['fdb'], argument: 'FILE', summary: 'Image in the second' },
  {
    names: ['drive'],
    argument: 'LIST',
    isRepeated: true,
    summary:
      'A drive: file=FILE,if=ide|floppy|virtio,media=disk|cdrom,index=N,\n' +
      'format=raw,readonly=on,snapshot=on; may be given several times',
  },
  { names: ['snapshot'], summary: 'Writes to all drives are forgotten at the end' },
];

const KEYS = ['file', 'if', 'media', 'index', 'format', 'readonly', 'snapshot'];
const INTERFACES = ['ide', 'floppy', 'virtio'] as const;
const PLACES: Readonly<Record<DriveConfig['interface'], number>> = { ide: 4, floppy: 2, virtio: 8 };
/** QEMU's place for --cdrom: first device of the second channel. */
const CDROM_INDEX = 2;

/**
 * The drives that a command line asks for, with an empty CD-ROM drive where nothing else is.
 * @throws {UsageError} if a list makes no sense, or two drives have one place
 */
export function parseDrives(options: ParsedOptions): readonly DriveSpec[] {
  const { values } = options;
  const isSnapshot = values.has('snapshot');
  const drives: DriveSpec[] = [];
  const add = (drive: DriveSpec, option: string): void => {
    const isSame = (each: DriveSpec) =>
      each.interface === drive.interface && each.index === drive.index;
    if (drives.some(isSame))
      throw new UsageError(
        `Option "${option}": ${drive.interface} index ${drive.index} has a drive already`,
      );
    drives.push(drive);
  };
  const plain = (bus: 'ide' | 'floppy', index: number, media: 'disk' | 'cdrom', option: string) => {
    const path = values.get(option);
    if (path === undefined) return;
    const isReadOnly = media === 'cdrom';
    add({ interface: bus, media, index, path, isReadOnly, isSnapshot }, `--${option}`);
  };
  for (const [index, name] of ['hda', 'hdb', 'hdc', 'hdd'].entries())
    plain('ide', index, 'disk', name);
  plain('ide', CDROM_INDEX, 'cdrom', 'cdrom');
  plain('floppy', 0, 'disk', 'fda');
  plain('floppy', 1, 'disk', 'fdb');
  for (const text of options.repeated.get('drive') ?? [])
    add(parseDrive(text, drives, isSnapshot), '--drive');
  const isFree = !drives.some((each) => each.interface === 'ide' && each.index === CDROM_INDEX);
  if (isFree)
    drives.push({
      ...{ interface: 'ide', media: 'cdrom', index: CDROM_INDEX },
      ...{ isReadOnly: true, isSnapshot: false },
    });
  return drives;
}

/** `--drive LIST`, after the drives that are there already. */
function parseDrive(text: string, drives: readonly DriveSpec[], isSnapshotRun: boolean): DriveSpec {
  const fields = splitFields(text);
  const choose = <T extends string>(key: string, choices: readonly T[], value: T): T =>
    parseChoice(`--drive ${key}=`, fields.get(key) ?? value, choices);
  const bus = choose('if', INTERFACES, 'ide');
  const media = choose('media', ['disk', 'cdrom'], 'disk');
  if (media === 'cdrom' && bus !== 'ide')
    throw new UsageError(`Option "--drive media=cdrom" must have if=ide, got "${bus}"`);
  choose('format', ['raw'], 'raw');
  const path = fields.get('file');
  if (path === undefined && bus !== 'floppy' && media === 'disk')
    throw new UsageError(`Option "--drive" needs file=FILE, got "${text}"`);
  return {
    interface: bus,
    media,
    index: parseIndex(fields.get('index'), bus, media, drives),
    ...(path === undefined ? {} : { path }),
    isReadOnly: media === 'cdrom' || choose('readonly', ['on', 'off'], 'off') === 'on',
    isSnapshot: isSnapshotRun || choose('snapshot', ['on', 'off'], 'off') === 'on',
  };
}

/** KEY=VALUE, separated by commas; two commas are one within a value. */
function splitFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const part of text.split(/(?<!,),(?!,)/)) {
    const equals = part.indexOf('=');
    const key = equals < 0 ? part : part.slice(0, equals);
    if (equals < 0 || !KEYS.includes(key))
      throw new UsageError(
        `Option "--drive" must be a list of KEY=VALUE with ${KEYS.join(', ')}: ` +
          `got "${part}"${suggestion(key, KEYS)}`,
      );
    if (fields.has(key)) throw new UsageError(`Option "--drive" has "${key}" twice: "${text}"`);
    fields.set(key, part.slice(equals + 1).replaceAll(',,', ','));
  }
  return fields;
}

function parseIndex(
  text: string | undefined,
  bus: DriveConfig['interface'],
  media: DriveConfig['media'],
  drives: readonly DriveSpec[],
): number {
  const count = PLACES[bus];
  if (text !== undefined) {
    if (!/^\d+$/.test(text) || Number(text) >= count)
      throw new UsageError(`Option "--drive index=" must be 0 to ${count - 1}, got "${text}"`);
    return Number(text);
  }
  const isTaken = (index: number) =>
    drives.some((each) => each.interface === bus && each.index === index);
  let index = media === 'cdrom' ? CDROM_INDEX : 0;
  while (isTaken(index)) index++;
  if (index >= count)
    throw new UsageError(`Option "--drive" is given for more than ${count} drives with if=${bus}`);
  return index;
}
