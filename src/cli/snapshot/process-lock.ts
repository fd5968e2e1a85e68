// A lock between processes: a file that says who has it, made with its content in place by link().
// Node has no flock(). The file of a process that is gone is stale; process ids are used again, so
// the process's start time counts, too.

import { randomUUID } from 'node:crypto';
import { link, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
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
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

/** A file of ours is never longer. */
const HOLDER_BYTES_MAX = 4096;
const RETRY_MS = 15;

/** What says that this process holds something. */
export async function ownHolder(): Promise<LockHolder> {
  return {
    pid: process.pid,
    host: hostname(),
    started: await startTime(process.pid),
    id: randomUUID(),
  };
}

/**
 * Takes a lock, waiting up to `timeoutMs` for it.
 * @returns who has it, if it could not be had
 */
export async function takeLock(
  path: string,
  timeoutMs: number,
): Promise<ProcessLock | { readonly holder: LockHolder }> {
  const own = JSON.stringify(await ownHolder());
  const aside = `${path}.${randomUUID()}`;
  const deadlineMs = Date.now() + timeoutMs;
  await writeFile(aside, own, { flag: 'wx' });
  try {
    for (;;) {
      try {
        await link(aside, path);
        return { isHeld: () => says(path, own), release: () => release(path, own) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = await readHolder(path);
      if (holder === undefined || !(await isAlive(holder))) await removeStale(path);
      else if (Date.now() >= deadlineMs) return { holder };
      else await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  } finally {
    await unlink(aside).catch(() => {});
  }
}

/** What a lock file says; undefined if there is none, or it is not one of ours. */
export async function readHolder(path: string): Promise<LockHolder | undefined> {
  try {
    if ((await stat(path)).size > HOLDER_BYTES_MAX) return undefined;
    const holder = JSON.parse(await readFile(path, 'utf8')) as Partial<LockHolder>;
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
export async function isAlive({ pid, host, started }: LockHolder): Promise<boolean> {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const now = await startTime(pid);
  return now === '' || started === '' || now === started;
}

/** Takes a stale file away; one that somebody made anew meanwhile goes back. */
async function removeStale(path: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch {
    return; // Somebody else took it.
  }
  const holder = await readHolder(aside);
  // Should a third have the lock by now, the second finds out by `isHeld` before it commits.
  if (holder !== undefined && (await isAlive(holder))) await link(aside, path).catch(() => {});
  await unlink(aside).catch(() => {});
}

async function says(path: string, own: string): Promise<boolean> {
  return (await readFile(path, 'utf8').catch(() => '')) === own;
}

async function release(path: string, own: string): Promise<void> {
  if (await says(path, own)) await unlink(path).catch(() => {});
}

/** Field 22 of /proc/PID/stat: proc(5), "starttime". '' on other systems. */
async function startTime(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The second field, a name in parentheses, may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
