// One writer for an image: a lock file beside it that says who.

import { createHash } from 'node:crypto';
import { realpathSync, statSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  isAlive,
  type LockHolder,
  type ProcessLock,
  readHolder,
  tryLock,
} from '../process-lock.ts';

/** An image is in use by somebody else. */
export class ImageLockedError extends Error {
  override readonly name = 'ImageLockedError';
  readonly path: string;
  readonly holderPid: number;

  constructor(path: string, holder: LockHolder, lockPath: string) {
    const where = holder.host === hostname() ? '' : ` on host "${holder.host}"`;
    super(
      `Cannot open image "${path}" as nobody else may write to it: ` +
        `process ${holder.pid}${where} does (lock file "${lockPath}")`,
    );
    this.path = path;
    this.holderPid = holder.pid;
  }
}

/**
 * Takes the lock of an image for writing.
 * @throws {ImageLockedError} if a living process has it
 */
export function lockImage(path: string): ProcessLock {
  for (const lockPath of lockPaths(path)) {
    const lock = takeLock(path, lockPath);
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

/** The lock, or undefined if the folder cannot be written. @throws {ImageLockedError} */
function takeLock(path: string, lockPath: string): ProcessLock | undefined {
  let lock: ReturnType<typeof tryLock>;
  try {
    lock = tryLock(lockPath);
  } catch {
    return undefined;
  }
  if ('holder' in lock) throw new ImageLockedError(path, lock.holder, lockPath);
  return lock;
}
