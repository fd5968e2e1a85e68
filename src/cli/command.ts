// What a command of `quire` is, and the error for a command line that makes no sense.

/** Where a command writes. */
export interface Output {
  write(text: string): unknown;
}

/** The streams of a command; standard input is taken where it is needed. */
export interface CommandStreams {
  readonly out: Output;
  readonly err: Output;
}

/** One command of `quire`. */
export interface Command {
  /** All lines of `quire help NAME`. */
  readonly help: string;
  /**
   * Runs it with the arguments behind its name; returns the exit code.
   * @throws {UsageError} if the arguments make no sense
   */
  run(args: readonly string[], streams: CommandStreams): Promise<number>;
}

/** The command line makes no sense; the message is one sentence that names the option. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
