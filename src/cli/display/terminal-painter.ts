// A guest's screen as characters of a terminal: cells, and what to write so that cells that changed
// are brought up to date. ECMA-48, "CUP", "SGR"; pixels as half blocks, two to a cell.

import { CODE_PAGE_437 } from '../../devices/codepage-437.ts';
import type { Frame, TextScreen } from '../../machine/screen.ts';

/** Size of a terminal, in cells. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A screen of cells: a character and its SGR parameters each. */
export interface CellScreen extends TerminalSize {
  readonly characters: readonly string[];
  readonly styles: readonly string[];
  readonly cursor: { readonly column: number; readonly row: number } | undefined;
}

/** ECMA-48's colour of each of the VGA's: red and blue have changed places. */
const COLORS = [0, 4, 2, 6, 1, 5, 3, 7];
const UPPER_HALF = '▀';

/** SGR parameters of a text attribute. */
function attributeStyle(attribute: number, hasBlink: boolean): string {
  const foreground = (attribute & 8 ? 90 : 30) + COLORS[attribute & 7]!;
  const isBright = (attribute & 0x80) !== 0;
  const background = (isBright && !hasBlink ? 100 : 40) + COLORS[(attribute >> 4) & 7]!;
  return `0;${foreground};${background}${isBright && hasBlink ? ';5' : ''}`;
}

/** The upper left part of a text screen that fits. */
export function textCells(screen: TextScreen, size: TerminalSize): CellScreen {
  const columns = Math.min(screen.columns, size.columns);
  const rows = Math.min(screen.rows, size.rows);
  const styles = Array.from({ length: 256 }, (_, attribute) =>
    attributeStyle(attribute, screen.hasBlink),
  );
  const cells = Array.from(
    { length: columns * rows },
    (_, index) => Math.floor(index / columns) * screen.columns + (index % columns),
  );
  const { cursor } = screen;
  return {
    columns,
    rows,
    // A no-break space is not shown as a blank everywhere.
    characters: cells.map((at) => CODE_PAGE_437[screen.codes[at]!]!.replace('\u00a0', ' ')),
    styles: cells.map((at) => styles[screen.attributes[at]!]!),
    cursor:
      cursor !== undefined && cursor.column < columns && cursor.row < rows ? cursor : undefined,
  };
}

/** A picture made small enough, each pixel the mean of those it stands for. */
export function pixelCells(frame: Frame, size: TerminalSize): CellScreen {
  const scale = Math.min(1, size.columns / frame.width, (size.rows * 2) / frame.height);
  const columns = Math.max(1, Math.floor(frame.width * scale));
  const rows = Math.max(1, Math.floor((frame.height * scale) / 2));
  const characters = new Array<string>(columns * rows).fill(UPPER_HALF);
  const styles = characters.map((_, index) => {
    const [column, row] = [index % columns, Math.floor(index / columns)];
    const upper = meanColor(frame, column / columns, (row * 2) / (rows * 2), columns, rows * 2);
    const lower = meanColor(frame, column / columns, (row * 2 + 1) / (rows * 2), columns, rows * 2);
    return `0;38;2;${upper};48;2;${lower}`;
  });
  return { columns, rows, characters, styles, cursor: undefined };
}

/** Mean of the part of `frame` at (x, y), which is a `columns`-th by a `lines`-th of it. */
function meanColor(frame: Frame, x: number, y: number, columns: number, lines: number): string {
  const { width, height, rgba } = frame;
  const left = Math.floor(x * width);
  const top = Math.floor(y * height);
  const right = Math.max(left + 1, Math.floor((x + 1 / columns) * width));
  const bottom = Math.max(top + 1, Math.floor((y + 1 / lines) * height));
  const sums = [0, 0, 0];
  let count = 0;
  for (let line = top; line < Math.min(bottom, height); line++)
    for (let column = left; column < Math.min(right, width); column++, count++)
      for (let part = 0; part < 3; part++)
        sums[part] = sums[part]! + rgba[(line * width + column) * 4 + part]!;
  return sums.map((sum) => Math.round(sum / Math.max(1, count))).join(';');
}

/** What is on the terminal, and what turns it into something else. */
export class TerminalPainter {
  #shown: CellScreen | undefined;

  /** Forgets what is on the terminal: the next painting is a whole one. */
  forget(): void {
    this.#shown = undefined;
  }

  /** What to write so that the terminal shows `next`; '' if it does. */
  paint(next: CellScreen): string {
    const before = this.#shown;
    const isWhole =
      before === undefined || before.columns !== next.columns || before.rows !== next.rows;
    let out = isWhole ? '\x1b[0m\x1b[2J' : '';
    let style = '';
    for (let row = 0; row < next.rows; row++) {
      let isPlaced = false;
      for (let column = 0; column < next.columns; column++) {
        const at = row * next.columns + column;
        if (
          !isWhole &&
          before.characters[at] === next.characters[at] &&
          before.styles[at] === next.styles[at]
        ) {
          isPlaced = false;
          continue;
        }
        if (!isPlaced) out += `\x1b[${row + 1};${column + 1}H`;
        isPlaced = true;
        if (next.styles[at] !== style) {
          style = next.styles[at]!;
          out += `\x1b[${style}m`;
        }
        out += next.characters[at];
      }
    }
    const { cursor } = next;
    const hasMoved =
      cursor?.column !== before?.cursor?.column || cursor?.row !== before?.cursor?.row;
    if (out !== '' || hasMoved || isWhole)
      out +=
        cursor === undefined
          ? '\x1b[0m\x1b[?25l'
          : `\x1b[0m\x1b[${cursor.row + 1};${cursor.column + 1}H\x1b[?25h`;
    this.#shown = next;
    return out;
  }
}
