// A lock between processes: a file that says who has it, made with its content in place by link().
// Node has no flock(), and the packages that bring one are built natively. The file of a process
// that is gone is stale; process ids are used again, so the process's start time counts, too.

import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';

/** Who holds a lock. */
export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** Start time of the process in the kernel's ticks, or '' where that is not known. */
  readonly started: string;
  /** Tells two locks of one process apart. */
  readonly id: string;
}

/** A lock that is held. */
export interface ProcessLock {
  /** Whether the file still says that it is ours. */
  isHeld(): boolean;
  release(): void;
}

/** A file of ours is never longer. */
const HOLDER_BYTES_MAX = 4096;
const RETRY_MS = 15;
/** Somebody else may take and leave it between any two steps; this often, nobody does. */
const ATTEMPTS_MAX = 100;

/** What says that this process holds something. */
export function ownHolder(): LockHolder {
  const { pid } = process;
  return { pid, host: hostname(), started: startTime(pid), id: randomUUID() };
}

/**
 * Takes a lock if nobody has it.
 * @returns who has it, if it could not be had
 * @throws {Error} the host's, if the file cannot be made
 */
export function tryLock(path: string): ProcessLock | { readonly holder: LockHolder } {
  const own = JSON.stringify(ownHolder());
  const aside = `${path}.${randomUUID()}`;
  writeFileSync(aside, own, { flag: 'wx' });
  try {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      try {
        linkSync(aside, path);
        return { isHeld: () => says(path, own), release: () => release(path, own) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = readHolder(path);
      if (holder !== undefined && isAlive(holder)) return { holder };
      removeStale(path);
    }
    throw new Error(`Cannot lock "${path}" as it must stand still: it changes all the time`);
  } finally {
    unlinkSync(aside);
  }
}

/**
 * Takes a lock, waiting up to `timeoutMs` for it.
 * @returns who has it, if it could not be had
 * @throws {Error} as `tryLock`
 */
export async function takeLock(
  path: string,
  timeoutMs: number,
): Promise<ProcessLock | { readonly holder: LockHolder }> {
  const deadlineMs = Date.now() + timeoutMs;
  for (;;) {
    const lock = tryLock(path);
    if (!('holder' in lock) || Date.now() >= deadlineMs) return lock;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** What a lock file says; undefined if there is none, or it is not one of ours. */
export function readHolder(path: string): LockHolder | undefined {
  try {
    if (statSync(path).size > HOLDER_BYTES_MAX) return undefined;
    const holder = JSON.parse(readFileSync(path, 'utf8')) as Partial<LockHolder>;
    if (!Number.isSafeInteger(holder.pid) || holder.pid! <= 0) return undefined;
    return {
      pid: holder.pid!,
      host: String(holder.host),
      started: String(holder.started),
      id: String(holder.id),
    };
  } catch {
    return undefined;
  }
}

/** Whether a holder's process runs. One of another host counts as running: nobody here can tell. */
export function isAlive({ pid, host, started }: LockHolder): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = startTime(pid);
  return now === '' || started === '' || now === started;
}

/** Takes a stale file away; one that somebody made anew meanwhile goes back. */
function removeStale(path: string): void {
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // Somebody else took it.
  }
  const holder = readHolder(aside);
  try {
    // Should a third have the lock by now, the second finds out by `isHeld` before it commits.
    if (holder !== undefined && isAlive(holder)) linkSync(aside, path);
  } catch {
    // That third has it.
  } finally {
    unlinkSync(aside);
  }
}

function says(path: string, own: string): boolean {
  try {
    return readFileSync(path, 'utf8') === own;
  } catch {
    return false;
  }
}

function release(path: string, own: string): void {
  try {
    if (says(path, own)) unlinkSync(path);
  } catch {
    // It is gone already.
  }
}

/** Field 22 of /proc/PID/stat: proc(5), "starttime". '' on other systems. */
function startTime(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, a name in parentheses, may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
