// `--display terminal`: the guest's screen on the terminal's other buffer, and typed keys as
// those of a PC keyboard. The terminal is as it was on every way out. XTerm Control
// Sequences, "The Alternate Screen Buffer".

import type { Screen } from '../../machine/screen.ts';
import { terminalChords } from './terminal-keys.ts';
import { pixelCells, TerminalPainter, textCells } from './terminal-painter.ts';

const ENTER = '\x1b[?1049h\x1b[2J';
const LEAVE = '\x1b[0m\x1b[?25h\x1b[?1049l';
/** A terminal that does not say how large it is. */
const COLUMNS_DEFAULT = 80;
const ROWS_DEFAULT = 25;
/** How long a typed chord is held, ms of virtual time: longer than a guest's polls are apart. */
const HOLD_MS = 15;

/** What a terminal shows of a machine, and where its keys go. */
export interface DisplayedMachine {
  readonly screen: Pick<Screen, 'textScreen' | 'frame'>;
  typeKeys(keys: readonly string[], holdMs?: number): boolean;
}

export class TerminalDisplay {
  readonly #machine: DisplayedMachine;
  readonly #output: NodeJS.WriteStream;
  readonly #painter = new TerminalPainter();
  #isShown = false;

  constructor(machine: DisplayedMachine, output: NodeJS.WriteStream) {
    this.#machine = machine;
    this.#output = output;
  }

  /** Takes the terminal over, and paints. Does nothing while it has it. */
  show(): void {
    if (this.#isShown) return;
    this.#isShown = true;
    this.#output.write(ENTER);
    this.#output.on('resize', this.#onResize);
    process.on('exit', this.#leave);
    this.#painter.forget();
    this.paint();
  }

  /** Gives the terminal back. May be called again. */
  hide(): void {
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#output.off('resize', this.#onResize);
    process.off('exit', this.#leave);
    this.#leave();
  }

  /** Brings the terminal up to date. */
  paint(): void {
    if (!this.#isShown) return;
    const { screen } = this.#machine;
    const size = {
      columns: this.#output.columns ?? COLUMNS_DEFAULT,
      rows: this.#output.rows ?? ROWS_DEFAULT,
    };
    const text = screen.textScreen();
    const cells = text === undefined ? pixelCells(screen.frame(), size) : textCells(text, size);
    const out = this.#painter.paint(cells);
    if (out !== '') this.#output.write(out);
  }

  /** Types what the terminal sent on the guest's keyboard; what it has no room for is lost. */
  type(bytes: Uint8Array): void {
    for (const chord of terminalChords(bytes)) this.#machine.typeKeys(chord, HOLD_MS);
  }

  readonly #onResize = (): void => {
    this.#painter.forget();
    this.paint();
  };

  readonly #leave = (): void => {
    this.#output.write(LEAVE);
  };
}
