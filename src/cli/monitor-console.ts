// The monitor as a conversation: prompt, line editing and history, over bytes that something else
// reads from the terminal.

import { createInterface, type Interface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { MONITOR_COMMANDS, type MonitorTarget, runMonitorLine } from './monitor.ts';
import { INFO_COMMANDS } from './monitor-info.ts';
import { runSnapshotLine } from './monitor-snapshot.ts';

const PROMPT = '(quire) ';

function complete(line: string): [string[], string] {
  const [, before, word] = /^(.*?)([^ ]*)$/.exec(line)!;
  const table = before!.trim() === 'info' ? INFO_COMMANDS : before === '' ? MONITOR_COMMANDS : [];
  return [table.map(({ name }) => name).filter((name) => name.startsWith(word!)), word!];
}

/** One conversation; `feed` takes what is typed while the monitor has the terminal. */
export class MonitorConsole {
  readonly #input = new PassThrough();
  readonly #lines: Interface;
  #isActive = false;
  /** Work under way, and lines typed meanwhile: they wait. */
  #work: Promise<void> | undefined;
  readonly #waiting: string[] = [];

  /** @param isTerminal whether the other side shows cursor movements */
  constructor(target: MonitorTarget, output: NodeJS.WritableStream, isTerminal: boolean) {
    this.#lines = createInterface({
      input: this.#input,
      output,
      terminal: isTerminal,
      prompt: PROMPT,
      completer: complete,
    });
    const runLine = (line: string): void => {
      let shown = -1;
      const work = runSnapshotLine(target, line, (part) => {
        const percent = Math.floor(part * 100);
        if (!isTerminal || !this.#isActive || percent === shown) return;
        shown = percent;
        output.write(`\r${percent} %`);
      });
      if (work === undefined) {
        output.write(runMonitorLine(target, line));
        if (this.#isActive) this.#lines.prompt();
        return;
      }
      this.#work = work.then((text) => {
        this.#work = undefined;
        output.write(shown < 0 ? text : `\r${text}`);
        if (this.#isActive) this.#lines.prompt();
        while (this.#work === undefined && this.#waiting.length > 0)
          runLine(this.#waiting.shift()!);
      });
    };
    this.#lines.on('line', (line) => {
      if (this.#work === undefined) runLine(line);
      else this.#waiting.push(line);
    });
    // Ctrl-C gives up a line, and does not leave.
    this.#lines.on('SIGINT', () => {
      output.write('\n');
      this.#lines.write(null, { ctrl: true, name: 'u' });
      this.#lines.prompt();
    });
  }

  get isActive(): boolean {
    return this.#isActive;
  }

  /** Shows the prompt, or falls silent. */
  setActive(isActive: boolean): void {
    this.#isActive = isActive;
    if (isActive) this.#lines.prompt();
  }

  feed(bytes: Uint8Array): void {
    this.#input.write(bytes);
  }

  close(): void {
    this.#isActive = false;
    this.#lines.close();
  }
}
