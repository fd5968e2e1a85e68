// From the start of a process to the first instruction of its guest: a ROM of 64 KiB whose reset
// vector writes a byte to the serial port, so that every system runs the same code, and no firmware
// of its own. "wall" ends when the byte has come through a pipe; "CPU" is the time that all threads
// of the process had until then, as Linux counts it. "Node alone" prints a byte, and does nothing
// else: what lies below it is not Quire's.
//
// Found: see docs/benchmarks.md, "Start-up".

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileChildren } from './comparison/compile.ts';
import type { Measurement } from './harness.ts';

const ROM_BYTES = 0x1_0000;
const RESET_VECTOR = 0xfff0;
const HLT = 0xf4;
// mov dx, 0x3f8; mov al, '!'; out dx, al; hlt; jmp $-1
const CODE = [0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, HLT, 0xeb, 0xfd];
const MARK = '!';
const MEMORY_MIB = 128;
const SAMPLE_COUNT = 9;
const TIMEOUT_MS = 60_000;
const QEMU = '/usr/bin/qemu-system-i386';

/** A command that prints the mark. */
type Command = readonly [file: string, ...args: string[]];

/** Of the times in /proc/pid/stat: sysconf(3), _SC_CLK_TCK, the same on every Linux of today. */
const NS_PER_TICK = 1e7;

/**
 * CPU time of a process, all threads together, ns: proc(5), /proc/pid/task/tid/schedstat, or where
 * the kernel has no such statistics /proc/pid/stat, in ticks of 10 ms.
 */
function cpuNs(pid: number): number {
  if (!existsSync('/proc/self/schedstat')) {
    // Field 2 is the command's name, in brackets; 14 and 15 are user and system time.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) * NS_PER_TICK;
  }
  let sum = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`))
    sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return sum;
}

async function once([file, ...args]: Command): Promise<{ wallNs: number; cpuNs: number }> {
  const start = performance.now();
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  try {
    return await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', () => reject(new Error(`${file} ended before its guest wrote a byte`)));
      child.stdout.on('data', (bytes: Buffer) => {
        if (!bytes.toString('latin1').includes(MARK)) return;
        const wallNs = (performance.now() - start) * 1e6;
        resolve({ wallNs, cpuNs: existsSync('/proc/self/task') ? cpuNs(child.pid!) : 0 });
      });
    });
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
  }
}

const V86_SCRIPT = `
import { readFileSync } from 'node:fs';
import { V86 } from ${JSON.stringify(import.meta.resolve('v86'))};
const emulator = new V86({
  wasm_path: ${JSON.stringify(createRequire(import.meta.url).resolve('v86/build/v86.wasm'))},
  memory_size: ${MEMORY_MIB} << 20,
  bios: { buffer: Uint8Array.from(readFileSync(process.argv[2])).buffer },
  autostart: true,
});
emulator.add_listener('serial0-output-byte', (byte) => {
  process.stdout.write(String.fromCharCode(byte));
});
`;

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

/** What is compared, by name; the command for a ROM in a folder. */
const SYSTEMS: Readonly<Record<string, (romPath: string, folder: string) => Command>> = {
  'Node alone': () => [process.execPath, '-e', `process.stdout.write('${MARK}')`],
  'quire run': (romPath) => {
    const machine = ['-m', String(MEMORY_MIB), '--bios', romPath, '--vgabios', 'none'];
    return [process.execPath, main, 'run', ...machine];
  },
  v86: (romPath, folder) => {
    const script = join(folder, 'v86.mjs');
    writeFileSync(script, V86_SCRIPT);
    return [process.execPath, script, romPath];
  },
  ...(existsSync(QEMU)
    ? {
        QEMU: (romPath: string): Command => {
          const machine = ['-m', String(MEMORY_MIB), '-accel', 'tcg', '-bios', romPath];
          return [QEMU, ...machine, '-display', 'none', '-serial', 'stdio', '-net', 'none'];
        },
      }
    : {}),
};

async function measure(name: string, kind: 'wallNs' | 'cpuNs', command: Command): Promise<void> {
  const times: number[] = [];
  await once(command);
  for (let i = 0; i < SAMPLE_COUNT; i++) times.push((await once(command))[kind]);
  times.sort((a, b) => a - b);
  const result: Measurement = {
    name,
    minNs: times[0]!,
    medianNs: times[SAMPLE_COUNT >> 1]!,
    maxNs: times[SAMPLE_COUNT - 1]!,
    n: SAMPLE_COUNT,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const [mode, wanted] = process.argv.slice(2);
for (const [system, commandFor] of Object.entries(SYSTEMS))
  for (const [unit, kind] of [
    ['wall', 'wallNs'],
    ['CPU', 'cpuNs'],
  ] as const) {
    const name = `${system}, ${unit}`;
    if (mode === '--list') process.stdout.write(`${name}\n`);
    if (mode !== '--variant' || wanted !== name) continue;
    if (system === 'quire run') compileChildren();
    const folder = mkdtempSync(join(tmpdir(), 'quire-startup-'));
    try {
      const rom = Buffer.alloc(ROM_BYTES, HLT);
      rom.set(CODE, RESET_VECTOR);
      const romPath = join(folder, 'rom');
      writeFileSync(romPath, rom);
      await measure(name, kind, commandFor(romPath, folder));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
