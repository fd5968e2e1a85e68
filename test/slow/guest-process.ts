// A guest behind the real command line, as a child process: waits for what it says, types to it.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

/** The command line: this checkout's source, or what QUIRE_TEST_CLI names, which was built. */
const BUILT_CLI = process.env.QUIRE_TEST_CLI;
const CLI = BUILT_CLI === undefined ? ['--import', 'tsx', 'src/cli/main.ts'] : [BUILT_CLI];

/** Fetches a guest by the command itself; undefined when that worked, or why it did not. */
export function fetchReason(name: string): string | undefined {
  const result = spawnSync(process.execPath, [...CLI, 'guests', 'fetch', name], {
    encoding: 'utf8',
    timeout: 10 * 60_000,
  });
  return result.status === 0 ? undefined : result.stderr.trim() || 'the fetch took too long';
}

/** One run of `quire run`. Close it in any case. */
export class GuestProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  readonly #startMs = performance.now();
  #waiters: (() => void)[] = [];
  #isOver = false;
  /** All that it has said, serial output and errors. */
  output = '';
  /** Up to here, `expect` has seen it. */
  #seen = 0;

  constructor(...options: string[]) {
    this.#child = spawn(process.execPath, [...CLI, 'run', ...options]);
    const onData = (data: Buffer): void => {
      this.output += data.toString('latin1');
      this.#notify();
    };
    this.#child.stdout!.on('data', onData);
    this.#child.stderr!.on('data', onData);
    this.#exited = new Promise((resolve) => {
      this.#child.on('close', (code) => {
        this.#isOver = true;
        this.#notify();
        resolve(code);
      });
    });
  }

  get elapsedSeconds(): number {
    return (performance.now() - this.#startMs) / 1000;
  }

  /** The next match behind the last one; the error shows the end of what was said instead. */
  async expect(pattern: RegExp, timeoutSeconds: number): Promise<string> {
    const deadlineMs = performance.now() + timeoutSeconds * 1000;
    for (;;) {
      const match = pattern.exec(this.output.slice(this.#seen));
      if (match !== null) {
        this.#seen += match.index + match[0].length;
        return match[0];
      }
      const leftMs = deadlineMs - performance.now();
      if (this.#isOver || leftMs <= 0)
        throw new Error(
          `The guest ${this.#isOver ? 'ended' : `ran ${timeoutSeconds} s`} and did not say ` +
            `${pattern}; its last words:\n${this.output.slice(-2000)}`,
        );
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  type(text: string): void {
    this.#child.stdin!.write(text);
  }

  /** Exit code, once it has ended by itself. */
  exitCode(): Promise<number | null> {
    return this.#exited;
  }

  async close(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (!this.#isOver) this.#child.kill(signal);
    await this.#exited;
  }

  #notify(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
