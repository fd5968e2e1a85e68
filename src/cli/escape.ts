// Ctrl-A, the key that speaks to Quire and not to the guest. Bytes in, bytes and actions out.
// QEMU documentation, "Keys in the character backend multiplexer".

const CTRL_A = 0x01;

/** What a key behind Ctrl-A asks for. */
export type EscapeAction = 'exit' | 'toggle-monitor' | 'help';

/** What follows Ctrl-A; anything else is dropped together with it, as QEMU does. */
const ACTIONS: Readonly<Record<string, EscapeAction>> = {
  x: 'exit',
  c: 'toggle-monitor',
  h: 'help',
  '?': 'help',
};

/** Shown for Ctrl-A h. */
export const ESCAPE_HELP = `
Ctrl-A h    this help
Ctrl-A x    leave Quire
Ctrl-A c    to the monitor and back
Ctrl-A Ctrl-A  send Ctrl-A
`;

/** Takes the keys for Quire out of a stream of input. A pair may be split over two calls. */
export class EscapeFilter {
  #isEscaped = false;

  /** Calls back in the order of the input; `onBytes` gets what is not for Quire, never empty. */
  feed(
    input: Uint8Array,
    onBytes: (bytes: Uint8Array) => void,
    onAction: (action: EscapeAction) => void,
  ): void {
    let start = 0;
    const flush = (end: number): void => {
      if (end > start) onBytes(input.subarray(start, end));
    };
    for (let index = 0; index < input.length; index++) {
      const byte = input[index]!;
      if (this.#isEscaped) {
        this.#isEscaped = false;
        // The second Ctrl-A goes through: it stays in the run that starts here.
        start = byte === CTRL_A ? index : index + 1;
        const action = ACTIONS[String.fromCharCode(byte)];
        if (action !== undefined) onAction(action);
      } else if (byte === CTRL_A) {
        flush(index);
        this.#isEscaped = true;
        start = index + 1;
      }
    }
    if (!this.#isEscaped) flush(input.length);
  }
}
