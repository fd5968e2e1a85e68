// Looks for a pattern in a stream of bytes, of which only the newest part is kept.

const WINDOW_CHARS = 64 * 1024;

/** `--exit-on`: whether the serial output has matched yet. */
export class PatternWatch {
  readonly #pattern: RegExp;
  #text = '';
  #hasMatched = false;

  constructor(pattern: RegExp) {
    this.#pattern = pattern;
  }

  /** Takes more output, one character a byte; true from the first match on. */
  feed(bytes: Uint8Array): boolean {
    if (this.#hasMatched) return true;
    // A match may begin in an earlier chunk, by at most the window.
    this.#text = (this.#text + Buffer.from(bytes).toString('latin1')).slice(-WINDOW_CHARS);
    this.#hasMatched = this.#pattern.test(this.#text);
    return this.#hasMatched;
  }
}
