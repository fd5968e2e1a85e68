// `quire run`: from a command line to a running machine.

import { readFileSync } from 'node:fs';
import type { Command, CommandStreams } from './command.ts';
import { fetchGuest } from './guests/store.ts';
import { progressOn } from './guests-command.ts';
import type { BootFiles } from './open-machine.ts';
import { describeOptions } from './options.ts';
import { parseRunConfig, RUN_OPTIONS, type RunConfig } from './run-options.ts';
import { runSession } from './session.ts';

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

async function findFiles(
  config: RunConfig,
  streams: CommandStreams,
): Promise<{ kernelPath: string; initrdPath?: string }> {
  const { guest, kernelPath, initrdPath } = config;
  if (guest === undefined)
    return initrdPath === undefined
      ? { kernelPath: kernelPath! }
      : { kernelPath: kernelPath!, initrdPath };
  const progress = progressOn(streams.err);
  try {
    const fetched = await fetchGuest(guest, progress.show);
    return initrdPath === undefined ? fetched : { ...fetched, initrdPath };
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
`,
  async run(args, streams) {
    const config = parseRunConfig(args);
    const paths = await findFiles(config, streams);
    const kernel = readImage('--kernel', paths.kernelPath);
    const { initrdPath } = paths;
    const files: BootFiles =
      initrdPath === undefined ? { kernel } : { kernel, initrd: readImage('--initrd', initrdPath) };
    // Loaded last: a mistake on the command line should not wait for a processor.
    const { openMachine } = await import('./open-machine.ts');
    const machine = openMachine(config, files, (message) => {
      streams.err.write(`quire: Warning: ${message}\n`);
    });
    return runSession(machine, config, {
      input: process.stdin,
      output: process.stdout,
      err: streams.err,
    });
  },
};
