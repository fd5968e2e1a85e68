// Between a serial port and its host: batches of what the guest sends, and what
// waits to be taken by it.

import type { UART16550 } from '../devices/uart16550.ts';

const BATCH_BYTES = 4096;
/** Input that the guest has not taken: more is refused. */
const INPUT_BYTES_MAX = 1 << 20;

export class SerialStream {
  readonly #uart: () => UART16550;
  readonly #onBytes: (bytes: Uint8Array) => void;
  #out: number[] = [];
  #in: number[] = [];
  #inDone = 0;

  /** @param onBytes gets arrays of its own, up to 4096 bytes each */
  constructor(uart: () => UART16550, onBytes: (bytes: Uint8Array) => void) {
    this.#uart = uart;
    this.#onBytes = onBytes;
  }

  /** The guest sent a byte. */
  put(value: number): void {
    this.#out.push(value);
    if (this.#out.length >= BATCH_BYTES) this.flush();
  }

  flush(): void {
    if (this.#out.length === 0) return;
    const bytes = Uint8Array.from(this.#out);
    this.#out = [];
    this.#onBytes(bytes);
  }

  /** Bytes for the guest; returns how many were taken: fewer if 1 MiB waits already. */
  send(bytes: Uint8Array): number {
    const waiting = this.#in.length - this.#inDone;
    const count = Math.min(bytes.length, INPUT_BYTES_MAX - waiting);
    for (let i = 0; i < count; i++) this.#in.push(bytes[i]!);
    this.feed();
    return count;
  }

  /** Input that the guest has not taken. What it sent is the host's, not state. */
  save(): Uint8Array {
    return Uint8Array.from(this.#in.slice(this.#inDone));
  }

  /** Call it once the port is restored. @param input what waits from now on, up to 1 MiB */
  restore(input: Uint8Array): void {
    this.#in = Array.from(input);
    this.#inDone = 0;
    this.feed();
  }

  /** Hands on what the port has room for. */
  feed(): void {
    const uart = this.#uart();
    while (this.#inDone < this.#in.length && uart.receiveRoom > 0)
      uart.receive(this.#in[this.#inDone++]!);
    if (this.#inDone < this.#in.length) return;
    this.#in = [];
    this.#inDone = 0;
  }
}
