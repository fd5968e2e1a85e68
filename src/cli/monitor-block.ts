// Drives in the monitor: `info block`, `change` and `eject`, in QEMU's words.

import type { BlockDevice } from '../devices/block/block-device.ts';
import type { Drive } from '../devices/block/drive.ts';
import type { MonitorTarget } from './monitor.ts';
import { suggestion } from './suggestion.ts';

/** `info block`: a paragraph for each drive. */
export function formatDrives(drives: readonly Drive[]): string {
  return drives
    .map((drive) => {
      const { id, medium, isRemovable } = drive;
      const access = drive.isReadOnly ? ', read-only' : '';
      const what = medium === undefined ? '[not inserted]' : `${medium.label} (raw${access})`;
      const lines = [`${id}: ${what}`];
      if (isRemovable)
        lines.push(`    Removable device: ${drive.isLocked() ? 'locked' : 'not locked'}`);
      if (medium !== undefined) lines.push(`    Size: ${medium.sizeBytes} bytes`);
      return lines.map((line) => `${line}\n`).join('');
    })
    .join('');
}

/** `change DRIVE FILE`; the file's name may hold spaces. */
export function changeMedium(target: MonitorTarget, [id, ...words]: readonly string[]): string {
  const drive = findDrive(target, id);
  const path = words.join(' ');
  if (path === '') throw new RangeError('Which image? Such as: change ide1-cd0 disc.iso');
  checkUnlocked(drive, false);
  // The old image goes first: the new one may be the same file.
  drive.change(undefined);
  let medium: BlockDevice | undefined;
  try {
    medium = target.openMedium(drive, path);
    drive.change(medium);
  } catch (error) {
    medium?.close();
    throw new RangeError((error as Error).message, { cause: error });
  }
  return '';
}

/** `eject [-f] DRIVE`. */
export function ejectMedium(target: MonitorTarget, args: readonly string[]): string {
  const isForced = args[0] === '-f';
  const drive = findDrive(target, args[isForced ? 1 : 0]);
  checkUnlocked(drive, isForced);
  if (drive.medium !== undefined) drive.change(undefined);
  return '';
}

function findDrive({ drives }: MonitorTarget, id: string | undefined): Drive {
  const removable = drives.filter((drive) => drive.isRemovable);
  const drive = removable.find((each) => each.id === id);
  if (drive !== undefined) return drive;
  const names = removable.map((each) => each.id);
  if (id === undefined) throw new RangeError(`Which drive? One of ${names.join(', ') || 'none'}`);
  throw new RangeError(`No drive "${id}" with a removable medium${suggestion(id, names)}`);
}

function checkUnlocked(drive: Drive, isForced: boolean): void {
  if (!isForced && drive.medium !== undefined && drive.isLocked())
    throw new RangeError(`Drive "${drive.id}" is locked by the guest; "eject -f" takes it anyway`);
}
