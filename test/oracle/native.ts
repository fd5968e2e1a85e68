// The host's own processor as an oracle: builds test/oracle/native.c and runs batches of cases.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RECORD_BYTES } from './record.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCE = join(HERE, 'native.c');
const BUILD = join(HERE, '../../build/oracle');
const HEADER_BYTES = 16;
const HEADER_MAGIC = 0x31524f51;

export interface NativeOracle {
  /** Whether the data page is also mapped below 64 KiB (vm.mmap_min_addr permitting). */
  readonly hasLowMemory: boolean;
  /**
   * Results of `cases` (whole records) in their order.
   * @throws {Error} if the native program ended early, with the index of the case that ended it
   */
  run(cases: Uint8Array): Uint8Array;
}

/** Either the oracle, or the reason for people why this host has none. */
export type NativeOracleOrReason =
  | { readonly oracle: NativeOracle }
  | { readonly oracle?: never; readonly reason: string };

function build(): string {
  const program = join(BUILD, 'native');
  if (existsSync(program) && statSync(program).mtimeMs > statSync(SOURCE).mtimeMs) return program;
  mkdirSync(BUILD, { recursive: true });
  const flags = ['-m32', '-static', '-no-pie', '-O1', '-mno-sse', '-fno-stack-protector'];
  const aside = `${program}.${process.pid}`;
  execFileSync('gcc', [...flags, SOURCE, '-o', aside], { stdio: ['ignore', 'ignore', 'pipe'] });
  renameSync(aside, program);
  return program;
}

/** Builds the native program if need be; says why where it cannot be built or run. */
export function openNativeOracle(): NativeOracleOrReason {
  let program: string;
  try {
    program = build();
  } catch (error) {
    const detail = error instanceof Error ? error.message.split('\n')[0] : String(error);
    return {
      reason: `gcc -m32 cannot build test/oracle/native.c (Debian package gcc-multilib): ${detail}`,
    };
  }
  const call = (input: Uint8Array) =>
    spawnSync(program, { input, maxBuffer: input.length + HEADER_BYTES, timeout: 120_000 });
  const hello = call(new Uint8Array(0));
  if (hello.status !== 0 || hello.stdout.readUInt32LE(0) !== HEADER_MAGIC) {
    return { reason: `the native oracle does not run here: ${hello.error ?? hello.status}` };
  }
  return {
    oracle: {
      hasLowMemory: hello.stdout.readUInt32LE(4) === 1,
      run(cases) {
        const { status, signal, stdout, error } = call(cases);
        if (status !== 0 || stdout.length !== cases.length + HEADER_BYTES) {
          const done = Math.floor(Math.max(0, stdout.length - HEADER_BYTES) / RECORD_BYTES);
          const how = error?.message ?? signal ?? `exit code ${status}`;
          throw new Error(`the native oracle ended early (${how}) in or after case ${done}`);
        }
        return new Uint8Array(stdout.buffer, stdout.byteOffset + HEADER_BYTES, cases.length);
      },
    },
  };
}
