// Files out of the distribution's packages that are no guest of the command line's: kernel modules,
// and what the nested test's outer guest consists of. Kept in the same cache folder.

import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { APT, type PackageRecord, unpack } from '../../src/cli/guests/apt.ts';
import { GuestError } from '../../src/cli/guests/guest-error.ts';
import { cacheFolder } from '../../src/cli/guests/store.ts';

const silent = (): void => {};

/** What to take from which package. */
export interface PackageFiles {
  /** Package, without its architecture. */
  readonly name: string;
  readonly architecture: string;
  /** The version, where only one will do. */
  readonly version?: string;
  /** For a metapackage: the dependency that has the files. */
  readonly follow?: RegExp;
  /** Such as `./boot/vmlinuz-*`. */
  readonly patterns: readonly string[];
}

/**
 * The folder with the files of a package, fetched if it is not in the cache.
 * @param section name of the cache folder's part; what it holds must have the same patterns
 * @throws {GuestError} if they cannot be fetched
 */
export async function packageFiles(wanted: PackageFiles, section: string): Promise<string> {
  const folder = join(cacheFolder(), section);
  mkdirSync(folder, { recursive: true });
  const known = wanted.version === undefined ? undefined : join(folder, keyOf(wanted));
  if (known !== undefined && existsSync(known)) return known;
  const aside = join(folder, `aside-${process.pid}`);
  mkdirSync(aside);
  try {
    try {
      return await filesFrom(APT.ofSystem(), wanted, folder, join(aside, 'system'));
    } catch (error) {
      if (!(error instanceof GuestError) || error.code !== 'FETCH') throw error;
    }
    const own = APT.createPrivate(join(aside, 'apt'), wanted.architecture);
    await own.update(silent);
    return await filesFrom(own, wanted, folder, join(aside, 'own'));
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function keyOf({ name, version = '' }: { name: string; version?: string }): string {
  return `${name}_${version.replaceAll(':', '-')}`;
}

async function filesFrom(
  apt: APT,
  wanted: PackageFiles,
  folder: string,
  aside: string,
): Promise<string> {
  const record = findRecord(apt, wanted);
  const target = join(folder, keyOf(record));
  if (existsSync(target)) return target;
  const deb = await apt.download(record, aside, silent);
  await unpack(deb, wanted.patterns, join(aside, 'files'));
  renameSync(join(aside, 'files'), target);
  return target;
}

function findRecord(apt: APT, wanted: PackageFiles): PackageRecord {
  const { name, architecture, version, follow } = wanted;
  const missing = (what: string): GuestError =>
    new GuestError('FETCH', `the package lists have no "${what}"`);
  let record = apt.find(`${name}:${architecture}`);
  if (record !== undefined && follow !== undefined) {
    const image = record.depends.find((each) => follow.test(each));
    record = image === undefined ? undefined : apt.find(`${image}:${architecture}`);
  }
  if (record === undefined) throw missing(`${name}:${architecture}`);
  if (version !== undefined && record.version !== version)
    throw missing(`${name}:${architecture}" of version "${version}`);
  return record;
}
