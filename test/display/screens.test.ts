// One guest, many video modes: the picture Quire makes of each is the one that QEMU's standard VGA
// makes. Each mode is set by its registers, so that no firmware is needed.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { softwareAccelerator } from '../../src/accel/software/index.ts';
import { nodeHost } from '../../src/cli/node-host.ts';
import { Machine } from '../../src/machine/machine.ts';
import type { Frame } from '../../src/machine/screen.ts';
import { missingTool } from '../guests/run-guest.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const READY_MS_MAX = 30_000;
const POLL_MS = 20;
/** From "the guest is ready" to a picture that QEMU has brought up to date. */
const QEMU_SETTLE_MS = 300;
/** QEMU makes eight bits of six by repeating the lowest, Quire by repeating the highest. */
const DIFFERENCE_MAX = 3;

/** Letter for the guest's command line, what it stands for, and how far colours may be apart. */
const MODES = [
  ['t', 'text, 80 by 25, a font and all attributes', DIFFERENCE_MAX],
  ['c', 'CGA, 4 colours', DIFFERENCE_MAX],
  ['p', 'planar, 16 colours, all write modes', DIFFERENCE_MAX],
  ['x', 'chain-4, 256 colours', DIFFERENCE_MAX],
  ['u', 'unchained, 256 colours', DIFFERENCE_MAX],
  ['s', 'split screen and start address', DIFFERENCE_MAX],
  ['b', 'Bochs, 8 bits by banks, a part of a wider screen', DIFFERENCE_MAX],
  ['5', 'Bochs, 8 bits', DIFFERENCE_MAX],
  // QEMU leaves the low three bits of such a pixel's parts clear.
  ['1', 'Bochs, 15 bits', 7],
  ['2', 'Bochs, 16 bits', DIFFERENCE_MAX],
  ['3', 'Bochs, 24 bits', 0],
  ['4', 'Bochs, 32 bits', 0],
] as const;

const noCompiler = missingTool('gcc');
const noQEMU = missingTool('qemu');
if (noQEMU !== undefined) console.log(`skipped: pictures are not compared: ${noQEMU}`);
const folder = mkdtempSync(join(tmpdir(), 'quire-screens-'));
afterAll(() => rmSync(folder, { recursive: true }));

function buildGuest(): string {
  mkdirSync(folder, { recursive: true });
  const program = join(folder, 'screens.elf');
  if (existsSync(program)) return program;
  execFileSync('gcc', [
    ...['-m32', '-O1', '-ffreestanding', '-fno-pic', '-no-pie', '-fno-stack-protector'],
    ...['-nostdlib', `-Wl,-T,${join(HERE, 'screens.ld')}`, '-Wl,--build-id=none'],
    ...['-o', program, join(HERE, 'screens.c')],
  ]);
  return program;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(isDone: () => boolean): Promise<void> {
  for (let waitedMs = 0; !isDone(); waitedMs += POLL_MS) {
    if (waitedMs > READY_MS_MAX) throw new Error('The guest was not ready in time');
    await sleep(POLL_MS);
  }
}

async function drawInQuire(program: string, letter: string): Promise<Frame> {
  const machine = Machine.create({
    memoryBytes: 32 << 20,
    accelerator: softwareAccelerator,
    host: nodeHost,
    kernel: readFileSync(program),
    commandLine: letter,
  });
  let output = '';
  machine.onSerial = (bytes) => {
    output += Buffer.from(bytes).toString('latin1');
  };
  machine.start();
  try {
    await until(() => output.includes('READY') || machine.end !== undefined);
    expect(machine.end).toBeUndefined();
    await machine.pause();
    return machine.screen.frame();
  } finally {
    machine.close();
  }
}

/** Red, green and blue of each pixel. */
interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

async function drawInQEMU(program: string, letter: string): Promise<Picture> {
  const serial = join(folder, `serial.${letter}`);
  const picture = join(folder, `screen.${letter}.ppm`);
  const qemu = spawn('qemu-system-i386', [
    ...['-accel', 'tcg', '-m', '32', '-nodefaults', '-vga', 'std', '-display', 'none'],
    ...['-serial', `file:${serial}`, '-monitor', 'stdio', '-kernel', program, '-append', letter],
  ]);
  const ended = new Promise((resolve) => qemu.on('close', resolve));
  try {
    await until(() => existsSync(serial) && readFileSync(serial, 'latin1').includes('READY'));
    await sleep(QEMU_SETTLE_MS);
    qemu.stdin.write(`screendump ${picture}\n`);
    await until(() => existsSync(picture));
    qemu.stdin.write('quit\n');
    await ended;
  } finally {
    qemu.kill('SIGKILL');
  }
  const bytes = readFileSync(picture);
  const head = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 40).toString('latin1'))!;
  const rgb = bytes.subarray(head[0].length);
  return { width: Number(head[1]), height: Number(head[2]), rgb };
}

/** The first pixel whose colours are further apart than `most`, and how many there are. */
function difference(frame: Frame, picture: Picture, most: number): string {
  let count = 0;
  let first = '';
  for (let pixel = 0; pixel < frame.width * frame.height; pixel++) {
    const ours = [...frame.rgba.subarray(pixel * 4, pixel * 4 + 3)];
    const theirs = [...picture.rgb.subarray(pixel * 3, pixel * 3 + 3)];
    if (!ours.some((part, index) => Math.abs(part - theirs[index]!) > most)) continue;
    count++;
    if (count > 1) continue;
    const place = `${pixel % frame.width},${Math.floor(pixel / frame.width)}`;
    first = `first at ${place}: ${ours} in Quire, ${theirs} in QEMU`;
  }
  return count === 0 ? '' : `${count} pixels differ, ${first}`;
}

describe.skipIf(noCompiler !== undefined)(`screens ${noCompiler ?? ''}`, () => {
  test.each(MODES)('mode %s: %s, as in QEMU', { timeout: 60_000 }, async (letter, _name, most) => {
    const program = buildGuest();
    const frame = await drawInQuire(program, letter);
    expect(new Set(new Uint32Array(frame.rgba.buffer)).size).toBeGreaterThan(3);
    if (noQEMU !== undefined) return;
    const picture = await drawInQEMU(program, letter);
    expect([frame.width, frame.height]).toEqual([picture.width, picture.height]);
    expect(difference(frame, picture, most)).toBe('');
  });
});
