// `quire run`: from a command line to a running machine.

import { readFileSync } from 'node:fs';
import type { DriveSpec } from './block/drive-options.ts';
import type { Command, CommandStreams } from './command.ts';
import { completeDevices } from './device-options.ts';
import { type FirmwareSpec, findVGABIOS } from './firmware-options.ts';
import { FIRMWARE_GUEST, type Guest } from './guests/guest-list.ts';
import { type FetchedGuest, fetchGuest, guestByName } from './guests/store.ts';
import { progressOn } from './guests-command.ts';
import type { BootFiles, FirmwareImages, OpenedMachine } from './open-machine.ts';
import { describeOptions } from './options.ts';
import { parseRunConfig, RUN_OPTIONS } from './run-options.ts';
import { runSession } from './session.ts';
import { savedMachine } from './snapshot/machine-store.ts';

/** @throws {Error} naming the option, if the file cannot be read */
function readImage(option: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      { ENOENT: 'no such file', EISDIR: 'it is a folder', EACCES: 'no permission to read it' }[
        code ?? ''
      ] ?? (error as Error).message;
    throw new Error(`Cannot read ${option} "${path}": ${why}`, { cause: error });
  }
}

async function fetch(guest: Guest, streams: CommandStreams): Promise<FetchedGuest> {
  const progress = progressOn(streams.err);
  try {
    return await fetchGuest(guest, progress.show);
  } finally {
    progress.end();
  }
}

/** Images of the firmware: given, beside the given one, or Debian's. */
async function readFirmware(
  spec: FirmwareSpec,
  fetched: FetchedGuest | undefined,
  streams: CommandStreams,
): Promise<FirmwareImages> {
  const { biosPath, vgaBIOSPath, pflashPath } = spec;
  const given = biosPath ?? pflashPath;
  const beside = given === undefined ? undefined : findVGABIOS(given);
  const isComplete = given !== undefined && (vgaBIOSPath ?? beside) !== undefined;
  const own = isComplete
    ? undefined
    : fetched?.biosPath === undefined
      ? await fetch(guestByName(FIRMWARE_GUEST), streams)
      : fetched;
  const vgaPath = vgaBIOSPath ?? beside ?? own?.vgaBIOSPath;
  const bios = biosPath ?? (pflashPath === undefined ? own?.biosPath : undefined);
  return {
    ...(bios === undefined ? {} : { bios: readImage('--bios', bios) }),
    ...(vgaPath === undefined || vgaPath === 'none'
      ? {}
      : { vgaBIOS: readImage('--vgabios', vgaPath) }),
  };
}

/** Drives of the command line, and the guest's own medium in a place that is free or empty. */
function withMedia(drives: readonly DriveSpec[], fetched: FetchedGuest | undefined): DriveSpec[] {
  const all = [...drives];
  const put = (drive: DriveSpec): void => {
    const at = all.findIndex(
      (each) => each.interface === drive.interface && each.index === drive.index,
    );
    if (at < 0) all.push(drive);
    else if (all[at]!.path === undefined) all[at] = drive;
  };
  const { cdromPath, floppyPath } = fetched ?? {};
  const base = { isReadOnly: true, isSnapshot: false };
  if (cdromPath !== undefined)
    put({ ...base, interface: 'ide', media: 'cdrom', index: 2, path: cdromPath });
  if (floppyPath !== undefined)
    put({ ...base, interface: 'floppy', media: 'disk', index: 0, path: floppyPath });
  return all;
}

async function loadFirst(
  machine: OpenedMachine,
  tag: string,
  streams: CommandStreams,
): Promise<void> {
  const progress = progressOn(streams.err);
  try {
    await machine.loadSnapshot(tag, (part) =>
      progress.show(`Loading "${tag}": ${Math.floor(part * 100)} %`),
    );
  } catch (error) {
    await machine.close();
    throw error;
  } finally {
    progress.end();
  }
}

export const runCommand: Command = {
  help: `Usage: quire run [OPTIONS]

${describeOptions(RUN_OPTIONS)}
Options may be spelled as QEMU does, with one dash: -kernel FILE -append TEXT.

While it runs: Ctrl-A x leaves, Ctrl-A c toggles the monitor, Ctrl-A h helps, Ctrl-A Ctrl-A sends
Ctrl-A to the guest.

Exit codes: 0 the guest powered off, a pattern matched, or you left; 1 an error, or the guest ended
before its pattern matched; 2 a command line that makes no sense; 3 --timeout; 4 the guest stopped
by a disaster of its own, such as a triple fault; 128 + N signal N, so 130 for Ctrl-C.

Examples:
  quire run --guest debian-686
  quire run -m 64 -kernel vmlinuz -initrd root.cpio -append 'console=ttyS0'
  quire run --guest debian-686 --exit-on 'quire:/root# ' --timeout 60
  quire run --guest memtest86+ --append '' --display terminal
  quire run --loadvm before --snapshots ./snapshots
  quire run --cdrom debian.iso --hda disk.img --boot order=dc,menu=on --display terminal
`,
  async run(args, streams) {
    const config = parseRunConfig(args);
    const { guest, firmware } = config;
    const fetched = guest === undefined ? undefined : await fetch(guest, streams);
    const kernelPath = config.kernelPath ?? fetched?.kernelPath;
    const initrdPath = config.initrdPath ?? fetched?.initrdPath;
    const files: BootFiles = {
      ...(firmware === undefined
        ? {}
        : { firmware: await readFirmware(firmware, fetched, streams) }),
      ...(kernelPath === undefined ? {} : { kernel: readImage('--kernel', kernelPath) }),
      ...(initrdPath === undefined ? {} : { initrd: readImage('--initrd', initrdPath) }),
    };
    const drives = withMedia(config.drives, fetched);
    // Loaded last: a mistake on the command line should not wait for a processor.
    const { openMachine } = await import('./open-machine.ts');
    const { loadTag, folder } = config.snapshots;
    const saved = loadTag === undefined ? undefined : await savedMachine(folder, loadTag);
    const memoryBytes =
      saved === undefined || config.isMemoryGiven ? config.memoryBytes : saved.memoryBytes;
    const devices = completeDevices(config.devices, saved?.devices);
    const machine = openMachine({ ...config, memoryBytes, devices, drives }, files, (message) => {
      streams.err.write(`quire: Warning: ${message}\n`);
    });
    if (loadTag !== undefined) await loadFirst(machine, loadTag, streams);
    return runSession(machine, config, {
      input: process.stdin,
      output: process.stdout,
      err: streams.err,
    });
  },
};
