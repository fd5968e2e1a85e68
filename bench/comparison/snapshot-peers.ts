// v86's save_state and restore_state, and QEMU's migration to and from a file, with the guest
// guests/snap.S: what snapshots are compared with. A save ends when its file is synced. Machines
// are created before the time is taken.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { V86 } from 'v86';
import { findFirmware } from './firmware.ts';
import { nowMs } from './plan.ts';

const MIB = 2 ** 20;
const LAST_MARK = 'z';
const POLL_MS = 1;
const GUEST_SECONDS = 60;
const QEMU = ['qemu-system-i386', 'qemu-system-x86_64'];

/** A line of QEMU's monitor. */
interface Answer {
  readonly return?: { readonly status?: string };
  readonly error?: { readonly desc: string };
}

/** A saved machine, and what to do with it over and over; each gives the ms it took. */
export interface SnapshotPeer {
  readonly save: () => Promise<number>;
  readonly load: () => Promise<number>;
  readonly close: () => Promise<void>;
}

/** A system to compare with; `start` resolves when the guest has touched its memory. */
export interface FoundPeer {
  readonly name: string;
  readonly start: (options: PeerOptions) => Promise<SnapshotPeer>;
}

/** What a peer's guest is. */
export interface PeerOptions {
  readonly kernelPath: string;
  readonly memoryBytes: number;
  /** For its files. */
  readonly folder: string;
}

function syncFile(path: string): void {
  const file = openSync(path, 'r+');
  fsyncSync(file);
  closeSync(file);
}

async function startV86({ kernelPath, memoryBytes, folder }: PeerOptions): Promise<SnapshotPeer> {
  const { biosPath, vgaBIOSPath } = await findFirmware();
  const image = (path: string) => ({ buffer: Uint8Array.from(readFileSync(path)).buffer });
  const emulator = new V86({
    wasm_path: createRequire(import.meta.url).resolve('v86/build/v86.wasm'),
    memory_size: memoryBytes,
    vga_memory_size: 8 * MIB,
    bios: image(biosPath),
    vga_bios: image(vgaBIOSPath),
    autostart: true,
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    multiboot: image(kernelPath),
  });
  await new Promise<void>((resolve) =>
    emulator.add_listener('serial0-output-byte', (byte: number) => {
      if (String.fromCharCode(byte) === LAST_MARK) resolve();
    }),
  );
  await emulator.stop();
  const path = join(folder, 'v86-state');
  const save = async (): Promise<number> => {
    const startMs = nowMs();
    writeFileSync(path, new Uint8Array(await emulator.save_state()));
    syncFile(path);
    return nowMs() - startMs;
  };
  return {
    save,
    load: async () => {
      if (!existsSync(path)) await save();
      const startMs = nowMs();
      const bytes = readFileSync(path);
      const { buffer, byteOffset, length } = bytes;
      await emulator.restore_state(buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer);
      return nowMs() - startMs;
    },
    close: () => emulator.destroy(),
  };
}

/** QEMU, talked to by its monitor's JSON protocol on standard input and output. */
class QEMUMonitor {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #answers: Answer[] = [];
  #errors = '';
  #hasEnded = false;

  constructor(command: string, { kernelPath, memoryBytes }: PeerOptions, more: readonly string[]) {
    this.#child = spawn(command, [
      ...['-accel', 'tcg,thread=single', '-machine', 'pc', '-cpu', 'qemu32'],
      ...['-m', String(memoryBytes / MIB), '-nodefaults', '-no-reboot', '-display', 'none'],
      ...['-qmp', 'stdio', '-kernel', kernelPath, ...more],
    ]);
    this.#child.stderr!.on('data', (data: Buffer) => {
      this.#errors += data.toString('latin1');
    });
    createInterface(this.#child.stdout!).on('line', (line) => {
      const answer = JSON.parse(line) as Answer;
      if ('return' in answer || 'error' in answer) this.#answers.push(answer);
    });
    this.#child.stdin!.on('error', () => {});
    this.#exited = new Promise((resolve) =>
      this.#child.on('close', () => {
        this.#hasEnded = true;
        resolve();
      }),
    );
    void this.#child.stdin!.write('{"execute": "qmp_capabilities"}\n');
  }

  /** Polls until `condition` holds. */
  async until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
    const endMs = nowMs() + GUEST_SECONDS * 1000;
    while (!(await condition())) {
      if (this.#hasEnded || nowMs() > endMs) throw new Error(`QEMU: no ${what}: ${this.#errors}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** @throws {Error} with its own words if it refuses */
  async ask(execute: string, more: object = {}): Promise<{ readonly status?: string }> {
    // The first answer is to the greeting.
    await this.until(() => this.#answers.length > 0, 'greeting');
    const index = this.#answers.length;
    this.#child.stdin!.write(`${JSON.stringify({ execute, arguments: more })}\n`);
    await this.until(() => this.#answers.length > index, `answer to "${execute}"`);
    const answer = this.#answers[index]!;
    if (answer.error !== undefined) throw new Error(`QEMU: ${execute}: ${answer.error.desc}`);
    return answer.return ?? {};
  }

  /** Resolves when the migration under way is through. */
  migrated(): Promise<void> {
    return this.until(async () => {
      const { status } = await this.ask('query-migrate');
      if (status === 'failed') throw new Error(`QEMU's migration failed: ${this.#errors}`);
      return status === 'completed';
    }, 'end of the migration');
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }
}

async function startQEMU(command: string, options: PeerOptions): Promise<SnapshotPeer> {
  const [serial, path] = [join(options.folder, 'serial'), join(options.folder, 'qemu-state')];
  const source = new QEMUMonitor(command, options, ['-serial', `file:${serial}`]);
  await source.until(
    () => existsSync(serial) && readFileSync(serial, 'latin1').includes(LAST_MARK),
    'mark of the guest',
  );
  // Without this it keeps to 128 MiB/s, as between hosts.
  await source.ask('migrate-set-parameters', { 'max-bandwidth': 100e9 });
  const save = async (): Promise<number> => {
    await source.ask('stop');
    const startMs = nowMs();
    await source.ask('migrate', { uri: `exec:cat > ${path}` });
    await source.migrated();
    syncFile(path);
    const ms = nowMs() - startMs;
    // It migrates no machine a second time that has not run in between.
    await source.ask('cont');
    return ms;
  };
  return {
    save,
    load: async () => {
      if (!existsSync(path)) await save();
      const more = ['-serial', 'null', '-incoming', 'defer'];
      const target = new QEMUMonitor(command, options, more);
      try {
        await target.ask('query-status');
        const startMs = nowMs();
        await target.ask('migrate-incoming', { uri: `exec:cat ${path}` });
        await target.migrated();
        return nowMs() - startMs;
      } finally {
        await target.close();
      }
    },
    close: () => source.close(),
  };
}

/** Those that are here; `onMissing` hears why others are not. */
export async function findSnapshotPeers(onMissing: (why: string) => void): Promise<FoundPeer[]> {
  const peers: FoundPeer[] = [];
  try {
    await findFirmware();
    peers.push({ name: 'v86', start: startV86 });
  } catch (error) {
    onMissing(`Without v86: ${(error as Error).message}`);
  }
  const command = QEMU.find((name) => spawnSync(name, ['--version']).status === 0);
  if (command === undefined) onMissing('Without QEMU: install the package qemu-system-x86');
  else peers.push({ name: 'QEMU', start: (options) => startQEMU(command, options) });
  return peers;
}
