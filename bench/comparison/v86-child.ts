// A process of its own that runs one job in v86 (npm, BSD-2-Clause), by its public interface.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { V86, type V86Options } from 'v86';
import { watchGuest } from './child.ts';
import type { V86Job } from './job.ts';

const COUNTER_SPAN = 2 ** 32;
/** The counter has 32 bits, and must be seen more often than it goes round. */
const COUNTER_LOOK_MS = 500;

/** A copy, as v86 wants the whole of a buffer. */
function image(path: string): { buffer: ArrayBuffer } {
  const bytes = readFileSync(path);
  return { buffer: Uint8Array.from(bytes).buffer };
}

function options(job: V86Job): V86Options {
  return {
    wasm_path: createRequire(import.meta.url).resolve('v86/build/v86.wasm'),
    memory_size: job.memoryBytes,
    vga_memory_size: 8 << 20,
    bios: image(job.biosPath),
    vga_bios: image(job.vgaBIOSPath),
    autostart: true,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    disable_jit: !job.isJITEnabled,
    ...(job.format === 'linux'
      ? { bzimage: image(job.kernelPath), cmdline: job.commandLine }
      : { multiboot: image(job.kernelPath) }),
    ...(job.initrdPath === undefined ? {} : { initrd: image(job.initrdPath) }),
  };
}

const feed = watchGuest<V86Job>((job) => {
  const emulator = new V86(options(job));
  let isReady = false;
  let high = 0;
  let last = 0;
  const instructions = (): number => {
    if (!isReady) return 0;
    const low = emulator.get_instruction_counter() >>> 0;
    if (low < last) high += COUNTER_SPAN;
    last = low;
    return high + low;
  };
  emulator.add_listener('emulator-ready', () => {
    isReady = true;
    setInterval(instructions, COUNTER_LOOK_MS);
  });
  emulator.add_listener('serial0-output-byte', (byte: number) => feed(byte));
  return { instructions, type: (text) => emulator.serial0_send(text) };
});
