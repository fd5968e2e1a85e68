// A running QEMU that writes its registers before each instruction into a FIFO (`-d cpu` with
// single stepping), and the reader of that: about 10^5 instructions a second.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GDBClient } from './gdb-client.ts';
import { parseRegisterDump, type RegisterDump } from './register-dump.ts';

export interface QEMUOptions {
  readonly kernel: string;
  readonly initrd?: string | undefined;
  readonly append?: string | undefined;
  readonly cpu: string;
  readonly memoryMiB: number;
}

/** Registers before one instruction; reused from record to record. */
export interface TraceRecord {
  readonly registers: Uint32Array;
  eip: number;
  eflags: number;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => {
    server.close(resolve);
  });
  if (address === null || typeof address === 'string') throw new Error('no free TCP port');
  return address.port;
}

const READ_BYTES = 1 << 20;
const NEWLINE = 10;
const LETTER_E = 0x45;
const LETTER_I = 0x49;

export class QEMUTrace {
  readonly #process: ChildProcess;
  readonly #directory: string;
  readonly #gdb: GDBClient;
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(READ_BYTES + 65536);
  #at = 0;
  #end = 0;

  private constructor(process: ChildProcess, directory: string, gdb: GDBClient, fd: number) {
    this.#process = process;
    this.#directory = directory;
    this.#gdb = gdb;
    this.#fd = fd;
  }

  /** Starts QEMU, stopped before its first instruction. */
  static async start(options: QEMUOptions): Promise<QEMUTrace> {
    const directory = mkdtempSync(join(tmpdir(), 'quire-lockstep-'));
    const fifo = join(directory, 'log');
    execFileSync('mkfifo', [fifo]);
    // QEMU opens the log when it starts. Both directions at first, or each side
    // would wait for the other.
    const both = openSync(fifo, constants.O_RDWR);
    const port = await freePort();
    const command = [
      '-accel',
      'tcg,thread=single',
      '-icount',
      'shift=0,sleep=off',
      '-machine',
      'pc',
      '-cpu',
      options.cpu,
      '-m',
      String(options.memoryMiB),
      '-nodefaults',
      '-display',
      'none',
      '-serial',
      `file:${join(directory, 'serial')}`,
      '-no-reboot',
      '-kernel',
      options.kernel,
      ...(options.initrd === undefined ? [] : ['-initrd', options.initrd]),
      ...(options.append === undefined ? [] : ['-append', options.append]),
      '-S',
      '-gdb',
      `tcp:127.0.0.1:${port}`,
      '-D',
      fifo,
    ];
    const child = spawn('qemu-system-i386', command, { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaint = '';
    child.stderr?.on('data', (chunk) => {
      complaint += chunk;
    });
    child.on('exit', () => process.stderr.write(complaint));
    try {
      const gdb = await GDBClient.connect(port);
      const trace = new QEMUTrace(child, directory, gdb, openSync(fifo, constants.O_RDONLY));
      closeSync(both); // Now the end of QEMU is the end of the file.
      return trace;
    } catch (error) {
      closeSync(both);
      child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
      throw new Error(`QEMU did not start: ${complaint}`, { cause: error });
    }
  }

  /** Runs at full speed to linear address `address`, and returns the registers there. */
  async runTo(address: number, hits: number): Promise<RegisterDump> {
    await this.#gdb.runTo(address, hits);
    return parseRegisterDump(await this.#gdb.monitor('info registers'));
  }

  /** Guest-physical memory [0, sizeBytes). */
  async memory(sizeBytes: number): Promise<Uint8Array> {
    const file = join(this.#directory, 'memory');
    await this.#gdb.monitor(`pmemsave 0 ${sizeBytes} "${file}"`);
    return readFileSync(file);
  }

  /** Continues with a record for each instruction; read them with {@link next}. */
  async trace(): Promise<void> {
    await this.#gdb.monitor('singlestep on');
    await this.#gdb.monitor('log cpu,nochain');
    this.#gdb.send('c');
    // The packet must leave before the caller blocks this thread in next().
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  /** Reads the next record into `record`; false when QEMU has ended. Blocks meanwhile. */
  next(record: TraceRecord): boolean {
    const start = this.#seekRecord();
    if (start < 0) return false;
    const buffer = this.#buffer;
    // EAX=… EBX=… ECX=… EDX=…\nESI=… EDI=… EBP=… ESP=…\nEIP=… EFL=…: columns of 13.
    const second = buffer.indexOf(NEWLINE, start) + 1;
    const third = buffer.indexOf(NEWLINE, second) + 1;
    const r = record.registers;
    r[0] = parseHex(buffer, start + 4);
    r[3] = parseHex(buffer, start + 17);
    r[1] = parseHex(buffer, start + 30);
    r[2] = parseHex(buffer, start + 43);
    r[6] = parseHex(buffer, second + 4);
    r[7] = parseHex(buffer, second + 17);
    r[5] = parseHex(buffer, second + 30);
    r[4] = parseHex(buffer, second + 43);
    record.eip = parseHex(buffer, third + 4);
    record.eflags = parseHex(buffer, third + 17);
    this.#at = third + 25;
    return true;
  }

  /** Offset of the next line that begins with EAX=, with enough behind it; −1 at the end. */
  #seekRecord(): number {
    for (;;) {
      while (this.#at < this.#end) {
        const at = this.#at;
        const isStart = this.#buffer[at] === LETTER_E && this.#buffer[at + 1] !== LETTER_I;
        if (
          isStart &&
          this.#end - at >= 160 &&
          this.#buffer.toString('latin1', at, at + 4) === 'EAX='
        ) {
          return at;
        }
        if (isStart && this.#end - at < 160) break;
        const newline = this.#buffer.indexOf(NEWLINE, at);
        if (newline < 0 || newline >= this.#end) break;
        this.#at = newline + 1;
      }
      this.#buffer.copy(this.#buffer, 0, this.#at, this.#end);
      this.#end -= this.#at;
      this.#at = 0;
      const count = readSync(this.#fd, this.#buffer, this.#end, READ_BYTES - this.#end, null);
      if (count === 0) return -1;
      this.#end += count;
    }
  }

  close(): void {
    this.#gdb.close();
    this.#process.kill('SIGKILL');
    closeSync(this.#fd);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function parseHex(buffer: Buffer, at: number): number {
  let value = 0;
  for (let i = at; i < at + 8; i++) {
    const char = buffer[i]!;
    value = (value << 4) | (char <= 0x39 ? char - 0x30 : char - 0x57);
  }
  return value >>> 0;
}
