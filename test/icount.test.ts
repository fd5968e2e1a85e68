// Time by instructions: what a guest sees of time depends on what it executed and on nothing else.

import { expect, test } from 'vitest';
import { interpreterAccelerator, softwareAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { INTERRUPT_SHADOW } from '../src/cpu/state-layout.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import { enterProtectedMode } from '../src/machine/boot/boot-target.ts';
import type { Host } from '../src/machine/host.ts';
import type { Machine } from '../src/machine/machine.ts';
import type { InstructionTiming } from '../src/machine/run-pace.ts';
import { traceMachine } from './engine-trace.ts';
import { FakeHost } from './fake-host.ts';
import { blankMachine } from './snapshot-guest.ts';

const CODE_GPA = 0x1000;
const NS_PER_MS = 1_000_000;
const TIMING: InstructionTiming = { nsPerInstruction: 8, sleeps: false };
/** Mixes the time-stamp counter and the timer chip's counter 0 into EBX, again and again. */
const CODE = [
  ...[0xb0, 0x34, 0xe6, 0x43], //       mov al, 0x34; out 0x43, al: counter 0, mode 2
  ...[0x30, 0xc0, 0xe6, 0x40, 0xe6, 0x40], // xor al, al; out 0x40, al, twice: 65536
  ...[0x0f, 0x31, 0x01, 0xc3], //       again: rdtsc; add ebx, eax
  ...[0xe4, 0x40, 0x01, 0xc3], //       in al, 0x40; add ebx, eax
  ...[0xd1, 0xc3, 0xe2, 0xf4], //       rol ebx, 1; loop again
  ...[0xb9, 0x00, 0x10, 0x00, 0x00], // mov ecx, 0x1000
  ...[0xeb, 0xed], //                   jmp again
];

/** A slow host: each look at its clock takes half a ms. */
function slowHost(): FakeHost {
  const host = new FakeHost();
  host.nowMs = () => {
    host.timeMs += 0.5;
    return host.timeMs;
  };
  return host;
}

function timedMachine(accelerator: Accelerator, host: Host, code = CODE): Machine {
  const machine = blankMachine({ accelerator, host, instructionTiming: TIMING });
  machine.addressSpace.loadBytes(CODE_GPA, Uint8Array.from(code));
  enterProtectedMode(machine.vcpu.state, {
    eip: CODE_GPA,
    gdtGpa: 0,
    gdtBytes: 8,
    codeSelector: 0x10,
    dataSelector: 0x18,
  });
  machine.vcpu.state.set32(INTERRUPT_SHADOW, 0);
  machine.vcpu.synchronize();
  return machine;
}

async function linesOf(accelerator: Accelerator, host: Host): Promise<string[]> {
  const machine = timedMachine(accelerator, host);
  const lines: string[] = [];
  await traceMachine(machine, {
    firstNs: 1003,
    stepNs: 77_777,
    lineCount: 80,
    linesPerDigest: 20,
    onLine: (line) => lines.push(line),
  });
  machine.close();
  return lines;
}

test('a guest that reads counters sees the same on both engines, whatever the host', async () => {
  const lines = await linesOf(interpreterAccelerator, slowHost());
  expect(new Set(lines).size).toBe(80);
  expect(await linesOf(interpreterAccelerator, nodeHost)).toEqual(lines);
  expect(await linesOf(softwareAccelerator, nodeHost)).toEqual(lines);
});

test('the counter goes on by each instruction, also between two of them in one slice', () => {
  // rdtsc; mov ebx, eax; nop; nop; rdtsc; sub eax, ebx; jmp $
  const code = [0x0f, 0x31, 0x89, 0xc3, 0x90, 0x90, 0x0f, 0x31, 0x29, 0xd8, 0xeb, 0xfe];
  const machine = timedMachine(interpreterAccelerator, slowHost(), code);
  machine.clock.start();
  machine.vcpu.run(100);
  expect(machine.vcpu.state.reg32(0)).toBe(4 * TIMING.nsPerInstruction);
  expect(machine.clock.nowNs()).toBe(100 * TIMING.nsPerInstruction);
  machine.close();
});

test('with sleep=off the time of a halted processor leaps to the next timer', async () => {
  const host = slowHost();
  const machine = timedMachine(interpreterAccelerator, host, [0xf4, 0xeb, 0xfd]);
  let at = 0;
  let sleepCount = 0;
  const fired = new Promise<void>((resolve) => {
    const timer = machine.clock.createTimer(() => {
      at = machine.clock.nowNs();
      sleepCount = host.sleeps.length;
      resolve();
    });
    timer.arm(3_600_000 * NS_PER_MS);
  });
  machine.start();
  await fired;
  await machine.pause();
  machine.close();
  // HLT is one instruction; the timer fires at its time, not a moment of the host later.
  expect(at).toBe(3_600_000 * NS_PER_MS);
  expect(sleepCount).toBe(0);
});
