// The host's terminal: raw while a guest has it, and as it was before on every way out.

import { constants } from 'node:os';
import { EXIT_ERROR, EXIT_SIGNAL } from './exit-code.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Takes over standard input; one at a time. */
export class Terminal {
  readonly #input: NodeJS.ReadStream;
  readonly #onInput: (bytes: Uint8Array) => void;
  #isOpen = false;

  /** @param onInput gets what is typed, or what comes from a file or pipe */
  constructor(onInput: (bytes: Uint8Array) => void, input: NodeJS.ReadStream = process.stdin) {
    this.#input = input;
    this.#onInput = onInput;
  }

  /** Raw mode, if it is a terminal, and input from now on. */
  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    // Each way out that does not come back to close(): the exit of the process, a signal, an error
    // that nobody caught. SIGKILL cannot be met.
    process.on('exit', this.#restore);
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
    process.on('uncaughtException', this.#onUncaught);
    process.on('unhandledRejection', this.#onUncaught);
    process.on('SIGCONT', this.#setRaw);
    this.#setRaw();
    this.#input.on('data', this.#onData);
    // A closed input ends nothing: the guest runs on. An error (EIO of a lost terminal) is an end.
    this.#input.on('error', () => {});
    this.#input.ref?.();
    this.#input.resume();
  }

  /** Gives the terminal back. May be called again. */
  close(): void {
    if (!this.#isOpen) return;
    this.#restore();
    this.#isOpen = false;
    this.#input.off('data', this.#onData);
    this.#input.pause();
    // A pipe that stays open must not keep the process; a file's stream has nothing to let go.
    this.#input.unref?.();
    process.off('exit', this.#restore);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    process.off('uncaughtException', this.#onUncaught);
    process.off('unhandledRejection', this.#onUncaught);
    process.off('SIGCONT', this.#setRaw);
  }

  /** Stops or lets flow the input, while whoever takes it is full. */
  setFlowing(isFlowing: boolean): void {
    if (!this.#isOpen) return;
    if (isFlowing) this.#input.resume();
    else this.#input.pause();
  }

  readonly #onData = (data: Buffer): void => this.#onInput(data);

  readonly #setRaw = (): void => {
    if (this.#input.isTTY) this.#input.setRawMode(true);
  };

  readonly #restore = (): void => {
    try {
      if (this.#input.isTTY) this.#input.setRawMode(false);
    } catch {
      // The terminal is gone: there is nothing to restore.
    }
  };

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#restore();
    process.exit(EXIT_SIGNAL + constants.signals[signal]);
  };

  readonly #onUncaught = (error: unknown): void => {
    this.#restore();
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`\nQuire has failed: ${text}\n`);
    process.exit(EXIT_ERROR);
  };
}
