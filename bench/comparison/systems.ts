// The systems that are compared, and how each is started for a job.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { BUILD } from './compile.ts';
import { type Firmware, findFirmware } from './firmware.ts';
import type { Job, QuireJob, V86Job } from './job.ts';

export const SYSTEM_NAMES = [
  'quire',
  'quire-interpreter',
  'v86-interpreter',
  'v86',
  'qemu',
] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];

/** A command; one that does not report its marks has the guest's serial line on its own streams. */
export interface Start {
  readonly command: string;
  readonly args: readonly string[];
  readonly isReporting: boolean;
}

/** One of the systems, found on this machine. */
export interface System {
  readonly name: SystemName;
  /** With its version, for people. */
  readonly title: string;
  readonly start: (job: Job, nodeOptions?: readonly string[]) => Start;
}

/** A system, or why it is not here. */
export type Found = System | { readonly name: SystemName; readonly missing: string };

function nodeStart(file: string, job: Job, nodeOptions: readonly string[] = []): Start {
  const args = [...nodeOptions, join(BUILD, file), JSON.stringify(job)];
  return { command: process.execPath, args, isReporting: true };
}

function quire(name: SystemName, isTranslating: boolean): System {
  return {
    name,
    title: isTranslating ? 'Quire' : 'Quire, interpreter',
    start: (job, nodeOptions) => {
      const quireJob: QuireJob = { ...job, isTranslating };
      return nodeStart('quire-child.js', quireJob, nodeOptions);
    },
  };
}

async function v86(name: SystemName, isJITEnabled: boolean): Promise<Found> {
  let firmware: Firmware;
  let version: string;
  try {
    firmware = await findFirmware();
    const { default: manifest } = await import('v86/package.json', { with: { type: 'json' } });
    version = manifest.version.split('+')[0]!;
  } catch (error) {
    return { name, missing: (error as Error).message };
  }
  return {
    name,
    title: `v86 ${version}, ${isJITEnabled ? 'JIT' : 'interpreter'}`,
    start: (job) => {
      const v86Job: V86Job = { ...job, ...firmware, isJITEnabled };
      return nodeStart('v86-child.js', v86Job);
    },
  };
}

function qemuArguments(job: Job): string[] {
  return [
    ...['-accel', 'tcg,thread=single', '-machine', 'pc', '-cpu', job.qemuCPU],
    ...['-m', String(job.memoryBytes / 2 ** 20), '-nodefaults', '-no-reboot'],
    // Not -nographic: with it SeaBIOS talks on the serial line too, which is the guest's here.
    ...['-display', 'none', '-serial', 'stdio'],
    ...['-kernel', job.kernelPath],
    ...(job.initrdPath === undefined ? [] : ['-initrd', job.initrdPath]),
    ...(job.commandLine === '' ? [] : ['-append', job.commandLine]),
  ];
}

function qemu(): Found {
  for (const command of ['qemu-system-i386', 'qemu-system-x86_64']) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (status !== 0) continue;
    const version = /version (\S+)/.exec(stdout)?.[1] ?? 'unknown';
    return {
      name: 'qemu',
      title: `QEMU ${version}, TCG`,
      start: (job) => ({ command, args: qemuArguments(job), isReporting: false }),
    };
  }
  return { name: 'qemu', missing: 'install the package qemu-system-x86' };
}

/** Looks for one of the systems. */
export async function findSystem(name: SystemName): Promise<Found> {
  switch (name) {
    case 'quire':
      return quire(name, true);
    case 'quire-interpreter':
      return quire(name, false);
    case 'v86-interpreter':
      return v86(name, false);
    case 'v86':
      return v86(name, true);
    case 'qemu':
      return qemu();
  }
}
