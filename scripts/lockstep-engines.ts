// `npx tsx scripts/lockstep-engines.ts …`: boots a guest on the interpreter and then with the
// translator, time going by instructions, and prints the first instructions between which they
// differ. See docs/testing.md.

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { interpreterAccelerator, softwareAccelerator } from '../src/accel/software/index.ts';
import { fetchGuest, guestByName } from '../src/cli/guests/store.ts';
import { nodeHost } from '../src/cli/node-host.ts';
import type { Accelerator } from '../src/cpu/vcpu.ts';
import { Machine } from '../src/machine/machine.ts';
import { timelessHost, traceMachine } from '../test/engine-trace.ts';

const USAGE = `usage: tsx scripts/lockstep-engines.ts [--guest NAME] [--append TEXT]
  [--count N]   millions of instructions to compare (default 3000)
  [--from N]    first instruction (default 0)
  [--step N]    instructions between two comparisons (default 1000000)
  [--shift N]   2^N ns an instruction (default 3)`;
const STEPS_PER_DIGEST = 100;
const MILLION = 1_000_000;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      guest: { type: 'string', default: 'debian-686' },
      append: { type: 'string' },
      count: { type: 'string', default: '3000' },
      from: { type: 'string', default: '0' },
      step: { type: 'string', default: '1000000' },
      shift: { type: 'string', default: '3' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  const { append, memoryBytes } = guestByName(values.guest);
  const guest = await fetchGuest(guestByName(values.guest), () => {});
  const nsPerInstruction = 2 ** Number(values.shift);
  const step = Number(values.step);
  const create = (accelerator: Accelerator): Machine =>
    Machine.create({
      memoryBytes,
      accelerator,
      host: timelessHost(nodeHost),
      kernel: readFileSync(guest.kernelPath!),
      commandLine: values.append ?? append ?? '',
      instructionTiming: { nsPerInstruction, sleeps: false },
      ...(guest.initrdPath === undefined ? {} : { initrd: readFileSync(guest.initrdPath) }),
    });
  const options = {
    firstNs: (Number(values.from) + step) * nsPerInstruction,
    stepNs: step * nsPerInstruction,
    lineCount: Math.ceil((Number(values.count) * MILLION) / step),
    linesPerDigest: STEPS_PER_DIGEST,
  };
  const lines: string[] = [];
  let machine = create(interpreterAccelerator);
  await traceMachine(machine, { ...options, onLine: (line) => lines.push(line) });
  machine.close();
  process.stderr.write(`the interpreter gave ${lines.length} lines\n`);
  let difference: string | undefined;
  machine = create(softwareAccelerator);
  await traceMachine(machine, {
    ...options,
    onLine(line, index) {
      if (line === lines[index] || difference !== undefined) return;
      difference = `${lines[index - 1] ?? 'start'}\n- ${lines[index]}\n+ ${line}\n`;
      void machine.pause();
      process.stdout.write(difference);
      process.exit(1);
    },
  });
  machine.close();
  process.stdout.write(`no difference in ${lines.length} comparisons\n`);
  return 0;
}

process.exitCode = await main();
