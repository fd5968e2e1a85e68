// The BIOS that v86 starts with: the system's own, or from the package `seabios`, fetched as guests
// are and kept beside them in the cache.

import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { APT, unpack } from '../../src/cli/guests/apt.ts';
import { GuestError } from '../../src/cli/guests/guest-error.ts';
import { cacheFolder } from '../../src/cli/guests/store.ts';

const PACKAGE = 'seabios';
const SYSTEM_FOLDER = '/usr/share/seabios';
const BIOS = 'bios.bin';
const VGA_BIOS = 'vgabios-stdvga.bin';
const ARCHITECTURE = 'i386';

/** Paths of both images. */
export interface Firmware {
  readonly biosPath: string;
  readonly vgaBIOSPath: string;
}

function inFolder(folder: string): Firmware | undefined {
  const found = { biosPath: join(folder, BIOS), vgaBIOSPath: join(folder, VGA_BIOS) };
  return existsSync(found.biosPath) && existsSync(found.vgaBIOSPath) ? found : undefined;
}

async function fetchInto(target: string, cache: string): Promise<void> {
  const aside = join(cache, `aside-${process.pid}-${PACKAGE}`);
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  mkdirSync(aside, { recursive: true });
  try {
    let apt = APT.ofSystem();
    let record = apt.find(PACKAGE);
    if (record === undefined) {
      apt = APT.createPrivate(join(aside, 'apt'), ARCHITECTURE);
      await apt.update(progress);
      record = apt.find(PACKAGE);
    }
    if (record === undefined)
      throw new GuestError('FETCH', `the package lists have no "${PACKAGE}"`);
    const deb = await apt.download(record, aside, progress);
    const patterns = [BIOS, VGA_BIOS].map((name) => `.${SYSTEM_FOLDER}/${name}`);
    await unpack(deb, patterns, join(aside, 'files'));
    mkdirSync(join(target, '..'), { recursive: true });
    renameSync(join(aside, 'files', SYSTEM_FOLDER), target);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

/**
 * Finds the firmware, or fetches it.
 * @throws {GuestError} if it cannot be fetched
 */
export async function findFirmware(): Promise<Firmware> {
  const cache = cacheFolder();
  const target = join(cache, 'firmware', PACKAGE);
  const found = inFolder(SYSTEM_FOLDER) ?? inFolder(target);
  if (found !== undefined) return found;
  await fetchInto(target, cache);
  const fetched = inFolder(target);
  if (fetched === undefined) throw new GuestError('UNPACK', `"${PACKAGE}" has no ${BIOS}`);
  return fetched;
}
