// The Debian guest that comparisons boot: kernel, BusyBox root and command line of `quire guests`.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCPIO } from '../../src/cli/guests/cpio.ts';
import { fetchGuest, guestByName } from '../../src/cli/guests/store.ts';
import { BUILD } from './compile.ts';
import type { Job } from './job.ts';
import type { Step } from './plan.ts';

const GUEST = 'debian-686';
const WORKLOAD = fileURLToPath(new URL('../guests/workload.sh', import.meta.url));

/** The shell's prompt, with whatever folder it stands in. */
export const PROMPT: Step = { mark: 'prompt', pattern: 'quire:\\S*# ' };

/**
 * A job that boots it; with `workload`, the workload's script is `/workload` in its root.
 * @throws {GuestError} if the guest is not there and cannot be fetched
 */
export async function debianJob(
  steps: readonly Step[],
  extra: { readonly workload: boolean },
): Promise<Job & { readonly packages: readonly string[] }> {
  const guest = guestByName(GUEST);
  const fetched = await fetchGuest(guest, (line) => void process.stderr.write(`${line}\n`));
  let initrdPath = fetched.initrdPath!;
  if (extra.workload) {
    // The kernel unpacks archives that follow each other, one over the other.
    const script = writeCPIO([
      { type: 'file', path: 'workload', body: readFileSync(WORKLOAD), mode: 0o755 },
    ]);
    const both = Buffer.concat([readFileSync(initrdPath), script]);
    mkdirSync(BUILD, { recursive: true });
    initrdPath = join(BUILD, 'workload.cpio');
    writeFileSync(initrdPath, both);
  }
  return {
    format: 'linux',
    kernelPath: fetched.kernelPath!,
    initrdPath,
    commandLine: guest.append,
    memoryBytes: guest.memoryBytes,
    plan: { kind: 'steps', steps },
    qemuCPU: 'pentium2',
    packages: fetched.packages,
  };
}
