// A process of its own that runs one job in Quire, as built in dist/.

import { readFileSync } from 'node:fs';
import { interpreterAccelerator, Machine, softwareAccelerator } from 'quire';
import { nodeHost } from 'quire/node';
import { endEarly, watchGuest } from './child.ts';
import type { QuireJob } from './job.ts';

const feed = watchGuest<QuireJob>((job) => {
  const { kernelPath, initrdPath, commandLine, memoryBytes } = job;
  const machine = Machine.create({
    memoryBytes,
    accelerator: job.isTranslating ? softwareAccelerator : interpreterAccelerator,
    host: nodeHost,
    kernel: readFileSync(kernelPath),
    commandLine,
    ...(initrdPath === undefined ? {} : { initrd: readFileSync(initrdPath) }),
  });
  // Not `machine.onSerial`: that comes once a slice, and a ms is much for the shorter tests.
  machine.pc.serial.onByte = (byte) => feed(byte);
  machine.onEnd = (end) => endEarly(end.kind === 'disaster' ? end.report : end.kind);
  machine.start();
  return {
    // As of the last slice: up to a ms old.
    instructions: () => machine.vcpu.instructionCount,
    type: (text) => void machine.sendSerial(Buffer.from(text, 'latin1')),
  };
});
