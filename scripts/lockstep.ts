// `npx tsx scripts/lockstep.ts --kernel FILE …`: runs QEMU and Quire side by side, instruction by
// instruction, and prints the first one after which registers differ. See docs/testing.md.

import { closeSync, openSync, readSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { interpreterAccelerator } from '../src/accel/software/index.ts';
import { createBareMachine } from '../test/oracle/bare-machine.ts';
import { Comparison } from './lockstep/comparison.ts';
import { codeAddress, disassemble } from './lockstep/guest-code.ts';
import { QEMUTrace } from './lockstep/qemu-trace.ts';
import { transplant } from './lockstep/transplant.ts';

const USAGE = `usage: tsx scripts/lockstep.ts --kernel FILE [--initrd FILE] [--append TEXT]
  [--from ADDRESS]  begin at this linear address (default: entry of an ELF file, else 0x100000)
  [--hits N]        at the N-th time that it is reached (default 1)
  [--count N]       compare N instructions (default 1000000)
  [--skip N]        take over differences among the first N
  [--cpu MODEL]     QEMU's processor (default pentium3)
  [-m MiB]          memory (default 64)`;

const PROGRESS_INSTRUCTIONS = 1_000_000;
const DEFAULT_START = 0x10_0000;

function number(text: string, name: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(
      `Cannot use --${name} as it must be a number, 0x for hexadecimal: "${text}"`,
    );
  }
  return value;
}

/** Entry point of an ELF32 file (System V ABI, "ELF Header"); else where a bzImage is unpacked. */
function entryOf(file: string): number {
  const header = Buffer.alloc(32);
  const fd = openSync(file, 'r');
  readSync(fd, header, 0, 32, 0);
  closeSync(fd);
  return header.readUInt32BE(0) === 0x7f454c46 ? header.readUInt32LE(24) : DEFAULT_START;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      kernel: { type: 'string' },
      initrd: { type: 'string' },
      append: { type: 'string' },
      from: { type: 'string' },
      hits: { type: 'string', default: '1' },
      count: { type: 'string', default: '1000000' },
      skip: { type: 'string', default: '0' },
      cpu: { type: 'string', default: 'pentium3' },
      memory: { type: 'string', short: 'm', default: '64' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help || values.kernel === undefined) {
    process.stdout.write(`${USAGE}\n`);
    return values.help ? 0 : 2;
  }
  const { kernel, initrd, append, cpu } = values;
  const memoryMiB = number(values.memory, 'memory');
  const start = values.from === undefined ? entryOf(kernel) : number(values.from, 'from');
  const countMax = number(values.count, 'count');
  const qemu = await QEMUTrace.start({ kernel, initrd, append, cpu, memoryMiB });
  try {
    process.stderr.write(`QEMU runs to 0x${start.toString(16)}\n`);
    const dump = await qemu.runTo(start, number(values.hits, 'hits'));
    const machine = createBareMachine(interpreterAccelerator, memoryMiB << 20);
    transplant(machine, dump, await qemu.memory(memoryMiB << 20));
    await qemu.trace();
    const comparison = new Comparison(machine, qemu);
    const started = Date.now();
    let difference: ReturnType<Comparison['run']>;
    for (let done = 0; done < countMax && !difference; done += PROGRESS_INSTRUCTIONS) {
      const until = Math.min(countMax, done + PROGRESS_INSTRUCTIONS);
      difference = comparison.run(until, number(values.skip, 'skip'));
      const { input, interrupts, flags } = comparison.adopted;
      process.stderr.write(
        `${comparison.count} instructions, ${((Date.now() - started) / 1000).toFixed(1)} s; from ` +
          `QEMU: ${input} inputs, ${interrupts} interrupts, ${flags} undefined flags\n`,
      );
      if (comparison.count < until) break;
    }
    if (!difference) {
      process.stdout.write(`no difference in ${comparison.count} instructions\n`);
      return 0;
    }
    const { state } = machine.vcpu;
    process.stdout.write(
      `difference after instruction ${difference.count}, at EIP 0x${difference.eip.toString(16)} ` +
        `(linear 0x${codeAddress(machine, difference.eip).toString(16)} in the present CS, ` +
        `CR0 ${state.cr0.toString(16)}, CPL ${state.cpl})\n` +
        `  ${disassemble(machine, difference.eip)}\n` +
        `${difference.lines.map((line) => `  ${line}\n`).join('')}`,
    );
    return 1;
  } finally {
    qemu.close();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 2;
}
