// Fetched guests in the cache folder: one folder each, written aside and renamed, so that two
// fetches at once, or one that is cut off, leave either a whole guest or none.
//
//   <cache>/guests/<name>/guest.json   which packages, and the digest of each file
//                        /kernel, /initrd, /cdrom and so on: a file for each role

import { createHash, randomUUID } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { APT, type PackageRecord, type Progress, unpack } from './apt.ts';
import { GuestError } from './guest-error.ts';
import { GUESTS, type Guest, type GuestPart } from './guest-list.ts';
import { buildInitramfs } from './initramfs.ts';

/** Raised when the same packages would give other files, so that old ones are fetched again. */
const FORMAT = 1;
const ARCHITECTURE = 'i386';

/** A guest whose files are there and whole. */
export interface FetchedGuest {
  readonly kernelPath?: string;
  readonly initrdPath?: string;
  readonly cdromPath?: string;
  readonly floppyPath?: string;
  readonly biosPath?: string;
  readonly vgaBIOSPath?: string;
  /** Packages with their versions, for people. */
  readonly packages: readonly string[];
}

/** Names of files, which are roles, and what of a fetched guest they are. */
const PATH_NAMES: Readonly<Record<string, keyof FetchedGuest>> = {
  kernel: 'kernelPath',
  initrd: 'initrdPath',
  cdrom: 'cdromPath',
  floppy: 'floppyPath',
  bios: 'biosPath',
  vgabios: 'vgaBIOSPath',
};

interface GuestRecord {
  readonly format: number;
  readonly packages: readonly string[];
  /** File name → SHA-256, lower-case hexadecimal. */
  readonly files: Readonly<Record<string, string>>;
}

/** QUIRE_CACHE, or `quire` in XDG_CACHE_HOME, or `~/.cache/quire`. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.QUIRE_CACHE) return env.QUIRE_CACHE;
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'quire');
}

/** @throws {GuestError} if no guest has that name */
export function guestByName(name: string): Guest {
  const guest = GUESTS.find((each) => each.name === name);
  if (guest !== undefined) return guest;
  const known = GUESTS.map((each) => `"${each.name}"`).join(', ');
  throw new GuestError('UNKNOWN', `there is no guest "${name}", only ${known}`);
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The guest in the cache; undefined if it is not there, or a file is not what was written. */
export function findFetched(guest: Guest, cache = cacheFolder()): FetchedGuest | undefined {
  const folder = join(cache, 'guests', guest.name);
  try {
    const record = JSON.parse(readFileSync(join(folder, 'guest.json'), 'utf8')) as GuestRecord;
    if (record.format !== FORMAT) return undefined;
    for (const [name, digest] of Object.entries(record.files))
      if (digestOf(readFileSync(join(folder, name))) !== digest) return undefined;
    const { packages } = record;
    const paths = Object.keys(record.files).map((name) => [PATH_NAMES[name], join(folder, name)]);
    return { ...Object.fromEntries(paths), packages };
  } catch {
    return undefined;
  }
}

/**
 * Fetches a guest, or finds it in the cache.
 * @throws {GuestError} if it cannot be fetched; the cache is then as it was
 */
export async function fetchGuest(
  guest: Guest,
  progress: Progress,
  cache = cacheFolder(),
): Promise<FetchedGuest> {
  const found = findFetched(guest, cache);
  if (found !== undefined) return found;
  const aside = join(cache, `aside-${process.pid}-${randomUUID()}`);
  try {
    mkdirSync(join(cache, 'guests'), { recursive: true });
    mkdirSync(aside);
  } catch (error) {
    throw new GuestError(
      'CACHE',
      `the cache folder "${cache}" cannot be written: ${(error as Error).message}. ` +
        'Name another with QUIRE_CACHE',
      { cause: error },
    );
  }
  try {
    const files = await fetchParts(guest, aside, progress);
    install(files, aside, join(cache, 'guests', guest.name), guest, cache);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  const fetched = findFetched(guest, cache);
  if (fetched === undefined)
    throw new GuestError('FETCH', `"${guest.name}" is not whole in "${cache}" after a fetch`);
  return fetched;
}

interface FetchedParts {
  readonly packages: string[];
  readonly bodies: Map<GuestPart['role'], Uint8Array>;
}

async function fetchParts(guest: Guest, aside: string, progress: Progress): Promise<FetchedParts> {
  // The system's lists cost nothing, but may be missing, of another architecture, or out of date.
  try {
    return await fetchPartsFrom(APT.ofSystem(), guest, join(aside, 'system'), progress);
  } catch (error) {
    if (!(error instanceof GuestError) || error.code !== 'FETCH') throw error;
  }
  const own = APT.createPrivate(join(aside, 'apt'), ARCHITECTURE);
  await own.update(progress);
  return fetchPartsFrom(own, guest, join(aside, 'own'), progress);
}

async function fetchPartsFrom(
  apt: APT,
  guest: Guest,
  folder: string,
  progress: Progress,
): Promise<FetchedParts> {
  const bodies = new Map<GuestPart['role'], Uint8Array>();
  const packages: string[] = [];
  // All are looked up before the first is fetched: half a guest is of no use.
  const records = guest.parts.map((part) => findPackage(apt, part));
  for (const [index, part] of guest.parts.entries()) {
    const record = records[index]!;
    const deb = await apt.download(record, folder, progress);
    const unpacked = join(folder, String(index));
    await unpack(deb, part.patterns, unpacked);
    rmSync(deb);
    const file = readdirSync(unpacked, { recursive: true, withFileTypes: true }).find((entry) =>
      entry.isFile(),
    );
    if (file === undefined)
      throw new GuestError('UNPACK', `"${record.name}" has no file ${part.patterns.join(' or ')}`);
    bodies.set(part.role, readFileSync(join(file.parentPath, file.name)));
    packages.push(`${record.name} ${record.version}`);
  }
  return { packages, bodies };
}

function findPackage(apt: APT, part: GuestPart): PackageRecord {
  const { packageName, follow } = part;
  const record = apt.find(packageName);
  if (record === undefined)
    throw new GuestError('FETCH', `the package lists have no "${packageName}"`);
  if (follow === undefined) return record;
  const name = record.depends.find((each) => follow.test(each));
  const image = name === undefined ? undefined : apt.find(`${name}:${record.architecture}`);
  if (image === undefined)
    throw new GuestError('FETCH', `"${packageName}" names no kernel image that the lists have`);
  return image;
}

function install(
  parts: FetchedParts,
  aside: string,
  target: string,
  guest: Guest,
  cache: string,
): void {
  const whole = join(aside, 'whole');
  mkdirSync(whole);
  const files: Record<string, string> = {};
  const add = (name: string, body: Uint8Array): void => {
    writeFileSync(join(whole, name), body);
    files[name] = digestOf(body);
  };
  for (const [role, body] of parts.bodies)
    if (role === 'busybox') add('initrd', buildInitramfs(body));
    else add(role, body);
  const record: GuestRecord = { format: FORMAT, packages: parts.packages, files };
  writeFileSync(join(whole, 'guest.json'), `${JSON.stringify(record, null, 2)}\n`);
  // Another process may have been faster, and then its guest is as good as ours.
  if (findFetched(guest, cache) !== undefined) return;
  if (existsSync(target)) renameSync(target, join(aside, 'broken'));
  try {
    renameSync(whole, target);
  } catch (error) {
    if (findFetched(guest, cache) === undefined) throw error;
  }
}
