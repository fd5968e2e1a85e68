// What HAXM's documentation says that its driver does with memory (docs/api.md of Intel HAXM,
// "HAX_VM_IOCTL_ALLOC_RAM" and "HAX_VM_IOCTL_SET_RAM", API v4), and a guest on it.

import {
  HAX_RAM_INFO_INVALID,
  HAX_RAM_INFO_ROM,
  type HAXDriver,
} from '../../src/accel/hax/hax-memory.ts';

const PAGE = 4096;

export class HAXModel implements HAXDriver {
  readonly apiVersion: number;
  readonly hostBase = 0x7f00_0000_0000n;
  readonly log: string[] = [];
  readonly #memory: Uint8Array;
  readonly #buffers: { start: bigint; sizeBytes: number }[] = [];
  /** Guest page → page of host memory, and whether it is ROM. */
  readonly #pages = new Map<number, { offset: number; isROM: boolean }>();

  constructor(memory: Uint8Array, apiVersion = 4) {
    this.#memory = memory;
    this.apiVersion = apiVersion;
  }

  allocRAM(hostAddress: bigint, sizeBytes: number): void {
    this.#must(sizeBytes > 0 && sizeBytes < 2 ** 32 && sizeBytes % PAGE === 0, 'size');
    this.#must(hostAddress !== 0n && hostAddress % BigInt(PAGE) === 0n, 'va');
    const end = hostAddress + BigInt(sizeBytes);
    for (const other of this.#buffers)
      this.#must(end <= other.start || hostAddress >= other.start + BigInt(other.sizeBytes), 'va');
    this.#buffers.push({ start: hostAddress, sizeBytes });
  }

  setRAM(gpa: number, sizeBytes: number, flags: number, hostAddress: bigint): void {
    this.log.push(`${gpa / PAGE}+${sizeBytes / PAGE} ${flags.toString(16)}`);
    this.#must(gpa % PAGE === 0, 'pa_start');
    this.#must(sizeBytes > 0 && sizeBytes < 2 ** 32 && sizeBytes % PAGE === 0, 'size');
    this.#must(
      flags === 0 || flags === HAX_RAM_INFO_ROM || flags === HAX_RAM_INFO_INVALID,
      'flags',
    );
    if (flags === HAX_RAM_INFO_INVALID) {
      this.#must(hostAddress === 0n, 'va');
      for (let page = 0; page < sizeBytes / PAGE; page++) this.#pages.delete(gpa / PAGE + page);
      return;
    }
    this.#must(hostAddress !== 0n && hostAddress % BigInt(PAGE) === 0n, 'va');
    const isRegistered = this.#buffers.some(
      (buffer) =>
        hostAddress >= buffer.start &&
        hostAddress + BigInt(sizeBytes) <= buffer.start + BigInt(buffer.sizeBytes),
    );
    this.#must(isRegistered, 'va');
    const offset = Number(hostAddress - this.hostBase);
    for (let page = 0; page < sizeBytes / PAGE; page++)
      this.#pages.set(gpa / PAGE + page, { offset: offset + page * PAGE, isROM: flags !== 0 });
  }

  /** How many guest pages are mapped. */
  get pageCount(): number {
    return this.#pages.size;
  }

  guestWrite(gpa: number, value: number): boolean {
    const page = this.#pages.get(Math.floor(gpa / PAGE));
    if (page === undefined || page.isROM) return false;
    this.#memory[page.offset + (gpa % PAGE)] = value;
    return true;
  }

  guestRead(gpa: number): number | undefined {
    const page = this.#pages.get(Math.floor(gpa / PAGE));
    return page === undefined ? undefined : this.#memory[page.offset + (gpa % PAGE)];
  }

  #must(holds: boolean, parameter: string): void {
    if (!holds) throw new Error(`STATUS_INVALID_PARAMETER: ${parameter}`);
  }
}
