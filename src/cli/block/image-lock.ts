// One writer for an image: a lock file beside it that says who. Node has no flock(), and
// the packages that bring one are built natively. The file is made with its content in
// place, by link(), and is stale when its process is gone; process ids are reused, so
// the process's start time counts, too.

import { createHash, randomUUID } from 'node:crypto';
import {
  linkSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** Who holds a lock, as its file has it. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Start time of the process in the kernel's ticks, or '' where that is not known. */
  readonly started: string;
}

/** A file of ours is never longer. */
const HOLDER_BYTES_MAX = 4096;
const ATTEMPTS_MAX = 5;

/** An image is in use by somebody else. */
export class ImageLockedError extends Error {
  override readonly name = 'ImageLockedError';
  readonly path: string;
  readonly holderPid: number;

  constructor(path: string, holder: Holder, lockPath: string) {
    const where = holder.host === hostname() ? '' : ` on host "${holder.host}"`;
    super(
      `Cannot open image "${path}" as nobody else may write to it: ` +
        `process ${holder.pid}${where} does (lock file "${lockPath}")`,
    );
    this.path = path;
    this.holderPid = holder.pid;
  }
}

/** A lock that is held. */
export interface ImageLock {
  release(): void;
}

/**
 * Takes the lock of an image for writing.
 * @throws {ImageLockedError} if a living process has it
 */
export function lockImage(path: string): ImageLock {
  const own = JSON.stringify({
    pid: process.pid,
    host: hostname(),
    started: startTime(process.pid),
  } satisfies Holder);
  for (const lockPath of lockPaths(path)) {
    const lock = takeLock(path, lockPath, own);
    if (lock !== undefined) return lock;
  }
  throw new Error(`Cannot lock image "${path}": no folder for the lock file can be written`);
}

/**
 * Makes sure that nobody writes to an image that is to be read.
 * @throws {ImageLockedError} if a living process does
 */
export function checkUnlocked(path: string): void {
  for (const lockPath of lockPaths(path)) {
    const holder = readHolder(lockPath);
    if (holder !== undefined && isAlive(holder)) throw new ImageLockedError(path, holder, lockPath);
  }
}

/**
 * Beside the file that all names of it lead to; else, where that cannot be written, by its inode.
 */
function lockPaths(path: string): readonly string[] {
  const real = realpathSync(path);
  const { dev, ino } = statSync(real, { bigint: true });
  const digest = createHash('sha256').update(`${hostname()} ${dev} ${ino}`).digest('hex');
  return [
    join(dirname(real), `.${basename(real)}.quire-lock`),
    join(tmpdir(), `quire-${digest.slice(0, 32)}.lock`),
  ];
}

/** The lock, or undefined if the folder cannot be written. */
function takeLock(path: string, lockPath: string, own: string): ImageLock | undefined {
  const asidePath = `${lockPath}.${randomUUID()}`;
  try {
    writeFileSync(asidePath, own, { flag: 'wx' });
  } catch {
    return undefined;
  }
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      try {
        linkSync(asidePath, lockPath);
        return { release: () => release(lockPath, own) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return undefined;
      }
      const holder = readHolder(lockPath);
      if (holder !== undefined && isAlive(holder))
        throw new ImageLockedError(path, holder, lockPath);
      removeStale(lockPath);
    }
    throw new Error(`Cannot lock image "${path}": "${lockPath}" changes all the time`);
  } finally {
    unlinkSync(asidePath);
  }
}

/** Takes a stale file away; one that somebody made anew meanwhile goes back. */
function removeStale(lockPath: string): void {
  const asidePath = `${lockPath}.${randomUUID()}`;
  try {
    renameSync(lockPath, asidePath);
  } catch {
    return; // Somebody else took it.
  }
  const holder = readHolder(asidePath);
  try {
    if (holder !== undefined && isAlive(holder)) linkSync(asidePath, lockPath);
  } finally {
    unlinkSync(asidePath);
  }
}

function release(lockPath: string, own: string): void {
  try {
    if (readFileSync(lockPath, 'utf8') === own) unlinkSync(lockPath);
  } catch {
    // It is gone already.
  }
}

/** What a lock file says; undefined if there is none, or it is not one of ours. */
function readHolder(lockPath: string): Holder | undefined {
  try {
    if (statSync(lockPath).size > HOLDER_BYTES_MAX) return undefined;
    const holder = JSON.parse(readFileSync(lockPath, 'utf8')) as Partial<Holder>;
    if (!Number.isSafeInteger(holder.pid) || holder.pid! <= 0) return undefined;
    return { pid: holder.pid!, host: String(holder.host), started: String(holder.started) };
  } catch {
    return undefined;
  }
}

/** A process of another host counts as alive: nobody here can tell. */
function isAlive({ pid, host, started }: Holder): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startTime(pid);
  return now === '' || started === '' || now === started;
}

/** Field 22 of /proc/PID/stat: proc(5), "starttime". '' on other systems. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, a name in parentheses, may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
