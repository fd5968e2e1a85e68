// `npm run lock`: completes package-lock.json after an `npm install`. A registry
// that holds only some platforms makes npm leave the others' optional packages
// out, and `npm ci` then refuses the file.

import { readFileSync, writeFileSync } from 'node:fs';

const LOCK = 'package-lock.json';
const SYSTEMS = /-(android|darwin|freebsd|linux|netbsd|openbsd|openharmony|win32)-/;
const PROCESSORS = /-(arm64|arm|ia32|ppc64|riscv64|s390x|x64)(?:-|$)/;

interface LockEntry {
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
interface LockFile {
  packages: Record<string, LockEntry>;
}

/** Optional packages that the lock file names and has no entry for, with their versions. */
export function missingEntries(lock: LockFile): [name: string, version: string][] {
  return Object.entries(lock.packages).flatMap(([path, entry]) =>
    Object.entries(entry.optionalDependencies ?? {}).filter(
      ([name]) =>
        !(`node_modules/${name}` in lock.packages) &&
        !(`${path}/node_modules/${name}` in lock.packages),
    ),
  );
}

/** The lock file as it is. */
export function readLock(): LockFile {
  return JSON.parse(readFileSync(LOCK, 'utf8')) as LockFile;
}

/** Adds what is missing, so that npm skips it for its system instead of looking for it. */
function complete(lock: LockFile): void {
  for (const [name, version] of missingEntries(lock)) {
    const [system, processor] = [SYSTEMS.exec(name)?.[1], PROCESSORS.exec(name)?.[1]];
    if (system === undefined || processor === undefined)
      throw new Error(`Cannot tell the system of "${name}" from its name`);
    const libc = system === 'linux' ? { libc: [name.includes('musl') ? 'musl' : 'glibc'] } : {};
    lock.packages[`node_modules/${name}`] = {
      ...{ version, cpu: [processor], dev: true, ...libc, optional: true, os: [system] },
    } as LockEntry;
  }
  const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
  lock.packages = Object.fromEntries(sorted);
}

if (process.argv[1]?.endsWith('complete-lock.ts') === true) {
  const lock = readLock();
  complete(lock);
  writeFileSync(LOCK, `${JSON.stringify(lock, null, 2)}\n`);
}
