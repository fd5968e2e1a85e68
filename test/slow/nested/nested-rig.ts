// KVM in full without hardware for it: QEMU emulates a processor with AMD's SVM, a Linux guest in
// there has a real /dev/kvm, and the host's own Node runs in that guest.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { GuestError } from '../../../src/cli/guests/guest-error.ts';
import {
  buildOuterGuest,
  EXIT_CODE_NAME,
  HOST_TAG,
  type OuterGuest,
  SCRIPT_NAME,
  WORK_TAG,
} from './outer-guest.ts';

const QEMU = 'qemu-system-x86_64';
const SYSTEM_PATHS = ['/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** What a script in the rig did. */
export interface NestedResult {
  /** Of the script; undefined if the outer guest did not get to its end. */
  readonly exitCode: number | undefined;
  /** All that the outer guest's console showed. */
  readonly output: string;
  readonly seconds: number;
}

/** How a script is run. */
export interface NestedOptions {
  /** Seconds of the host's time, after which QEMU is ended. */
  readonly timeoutSeconds: number;
  /** QEMU's processor: `EPYC` has nested paging, `EPYC,-npt` has not. */
  readonly cpu?: string;
  readonly memoryMiB?: number;
  /** Shown as it comes, for those who look on. */
  readonly onOutput?: (text: string) => void;
}

/** A place for scripts that want a /dev/kvm; remove it in any case. */
export class NestedRig {
  readonly #guest: OuterGuest;

  private constructor(guest: OuterGuest) {
    this.#guest = guest;
  }

  /** The rig, or why there can be none here. */
  static async createOrReason(): Promise<NestedRig | string> {
    if (spawnSync(QEMU, ['--version']).status !== 0) return `"${QEMU}" does not run here`;
    try {
      return new NestedRig(await buildOuterGuest());
    } catch (error) {
      if (error instanceof GuestError) return error.message;
      throw error;
    }
  }

  /** The folder that scripts can write; they begin in it. */
  get workFolder(): string {
    return join(this.#guest.folder, 'work');
  }

  remove(): void {
    rmSync(this.#guest.folder, { recursive: true, force: true });
  }

  /** Runs a shell script of the host's system, as root, in the outer guest. */
  async run(script: string, options: NestedOptions): Promise<NestedResult> {
    const work = this.workFolder;
    const exitCodePath = join(work, EXIT_CODE_NAME);
    rmSync(exitCodePath, { force: true });
    const path = [dirname(process.execPath), ...SYSTEM_PATHS].join(':');
    writeFileSync(
      join(work, 'environment'),
      `export HOME=/mnt TMPDIR=/mnt TERM=dumb PATH=${path}\n`,
    );
    writeFileSync(join(work, SCRIPT_NAME), script);
    const startMs = performance.now();
    const output = await this.#runQEMU(options);
    const seconds = (performance.now() - startMs) / 1000;
    const text = existsSync(exitCodePath) ? readFileSync(exitCodePath, 'utf8').trim() : '';
    return { exitCode: text === '' ? undefined : Number(text), output, seconds };
  }

  #runQEMU(options: NestedOptions): Promise<string> {
    const { timeoutSeconds, cpu = 'EPYC', memoryMiB = 1536, onOutput } = options;
    const share = (path: string, tag: string, rest: string): string[] => [
      '-virtfs',
      `local,path=${path},mount_tag=${tag},security_model=none,multidevs=remap${rest}`,
    ];
    const qemu = [
      ...[QEMU, '-accel', 'tcg', '-machine', 'pc', '-cpu', cpu, '-m', String(memoryMiB)],
      ...['-nodefaults', '-nographic', '-serial', 'stdio', '-no-reboot'],
      ...['-kernel', this.#guest.kernelPath, '-initrd', this.#guest.initrdPath],
      ...share('/', HOST_TAG, ',readonly=on'),
      ...share(this.workFolder, WORK_TAG, ''),
      ...['-append', 'console=ttyS0,115200 quiet cryptomgr.notests mitigations=off panic=-1'],
    ];
    const child: ChildProcess = spawn('timeout', ['-k', '5', String(timeoutSeconds), ...qemu], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const onData = (data: Buffer): void => {
      const text = data.toString('latin1');
      output += text;
      onOutput?.(text);
    };
    child.stdout!.on('data', onData);
    child.stderr!.on('data', onData);
    return new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', () => resolve(output));
    });
  }
}
