// A guest, however hostile, can never crash or hang its host: random code, random ports, random
// addresses. Seeds are printed by fast-check; FUZZ_SEED and FUZZ_RUNS repeat and prolong.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { interpreterAccelerator } from '../src/accel/software/index.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import { CR0, GPR, SEG_ATTRIBUTES, SEGMENT, SEGMENT_BYTES } from '../src/cpu/state-layout.ts';
import type { RunExit } from '../src/cpu/vcpu.ts';
import { Machine } from '../src/machine/machine.ts';
import { FakeHost } from './fake-host.ts';
import { fuzzOptions } from './fuzz-options.ts';

const MIB = 1 << 20;
const MEMORY_BYTES = 4 * MIB;
const CODE_GPA = 0x2_0000;
const CODE_BYTES = 0x4000;
/** How long each hostile device session runs. */
const RUN_MS = 100;
const CR0_PE = 1;
/** Present, accessed, 32-bit, 4 GiB: a flat code or data segment of ring 0. */
const FLAT_CODE = 0xc09b;
const FLAT_DATA = 0xc093;

/** Numbers from a seed: a linear congruential generator is random enough to be hostile. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state ^ (state >>> 15)) >>> 0;
  };
}

function createMachine(): Machine {
  return Machine.create({
    memoryBytes: MEMORY_BYTES,
    accelerator: interpreterAccelerator,
    host: new FakeHost(),
  });
}

/** Puts the processor at `gpa` in flat 32-bit protected mode, paging off. */
function enterFlat(machine: Machine, gpa: number): void {
  const { state } = machine.vcpu;
  state.setWide(CR0, state.cr0 | CR0_PE);
  for (let segment = 0; segment < 6; segment++) {
    const fields = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(fields, segment === 1 ? 8 : 16);
    state.set32(fields + SEG_ATTRIBUTES, segment === 1 ? FLAT_CODE : FLAT_DATA);
    state.setWide(fields + 8, 0);
    state.set32(fields + 16, 0xffff_ffff);
  }
  state.eip = gpa;
  state.setReg32(4, 0x1_0000);
  machine.vcpu.synchronize();
}

/** Puts the processor at `gpa` in real mode. */
function enterReal(machine: Machine, gpa: number): void {
  const { state } = machine.vcpu;
  for (let segment = 0; segment < 6; segment++) {
    const fields = SEGMENT + segment * SEGMENT_BYTES;
    state.set32(fields, segment === 1 ? gpa >>> 4 : 0x1000);
    state.setWide(fields + 8, segment === 1 ? gpa : 0x1_0000);
    state.set32(fields + 16, 0xffff);
  }
  state.eip = 0;
  state.setReg32(4, 0x8000);
  machine.vcpu.synchronize();
}

/** Runs in bounded pieces; ends early when nothing more can happen. */
function runBounded(machine: Machine, instructions: number): RunExit {
  let exit: RunExit = { kind: 'budget' };
  for (let done = 0; done < instructions && exit.kind === 'budget'; done += 1000) {
    exit = machine.vcpu.run(1000);
  }
  return exit;
}

test('random bytes as code, in real and protected mode, end in a state, never an exception', () => {
  fc.assert(
    fc.property(fc.integer(), fc.boolean(), (seed, isReal) => {
      const machine = createMachine();
      const random = randomNumbers(seed);
      const code = Uint8Array.from({ length: CODE_BYTES }, () => random() & 0xff);
      machine.addressSpace.writeBytes(CODE_GPA, code);
      // Real-mode vectors lead into the code, so that faults go on instead of ending it.
      const vectors = Uint8Array.from({ length: 1024 }, (_, index) =>
        index % 4 < 2 ? random() & 0x0f : index % 4 === 2 ? 0 : 0x20,
      );
      machine.addressSpace.writeBytes(0, vectors);
      if (isReal) enterReal(machine, CODE_GPA);
      else enterFlat(machine, CODE_GPA);
      for (let register = 0; register < 8; register++) {
        if (register !== 4) machine.vcpu.state.setReg32(register, random());
      }
      const exit = runBounded(machine, 20_000);
      expect(['budget', 'halted', 'shutdown']).toContain(exit.kind);
      if (exit.kind === 'shutdown') {
        expect(exit.reason).not.toBe('');
        expect(exit.report).toMatch(/EIP=[0-9a-f]{8}/);
      }
      expect(machine.vcpu.state.get32(GPR)).toBeGreaterThanOrEqual(0);
    }),
    fuzzOptions(60),
  );
});

/** mov edx, port; mov eax, value; then one of in/out al, ax, eax. */
function portAccess(random: () => number): number[] {
  const opcodes = [[0xec], [0x66, 0xed], [0xed], [0xee], [0x66, 0xef], [0xef]];
  // Half of them where chips are known to be, half anywhere.
  const port = random() & 1 ? random() & 0x3ff : random() & 0xffff;
  return [0xba, ...word(port), 0xb8, ...word(random()), ...opcodes[random() % opcodes.length]!];
}

/** mov eax, value; then a load or store of 1, 2 or 4 bytes at an absolute address. */
function memoryAccess(random: () => number): number[] {
  const bases = [0xfec0_0000, 0xfee0_0000, 0xa_0000, 0xc_0000, 0xfffe_0000, 0xe000_0000];
  const address = ((bases[random() % bases.length] ?? 0) + (random() & 0xffff)) >>> 0;
  const opcodes = [[0xa0], [0x66, 0xa1], [0xa1], [0xa2], [0x66, 0xa3], [0xa3]];
  return [0xb8, ...word(random()), ...opcodes[random() % opcodes.length]!, ...word(address)];
}

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

test('random accesses to all ports and device registers leave the host alive', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const random = randomNumbers(seed);
      const code: number[] = [];
      while (code.length < CODE_BYTES - 64) {
        code.push(...(random() & 3 ? portAccess(random) : memoryAccess(random)));
      }
      code.push(0xe9, ...word(-(code.length + 5)));
      const machine = Machine.create({
        memoryBytes: MEMORY_BYTES,
        accelerator: interpreterAccelerator,
        host: nodeHost,
      });
      machine.addressSpace.writeBytes(CODE_GPA, Uint8Array.from(code));
      enterFlat(machine, CODE_GPA);
      machine.start();
      await new Promise((resolve) => setTimeout(resolve, RUN_MS));
      await machine.pause();
      // A device may have been told to reset or power off; a failure would be ours.
      expect(machine.end?.kind ?? 'none').not.toBe('failure');
      machine.close();
    }),
    fuzzOptions(20),
  );
});
