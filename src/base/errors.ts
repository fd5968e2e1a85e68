// The error for a broken invariant. Faults of a caller or of the host are TypeError, RangeError or
// a named subclass beside the code that raises it; a guest's faults are never exceptions.

/** The program itself is wrong: something that must always hold does not. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/**
 * Stops the program where an invariant is broken. For slow paths: it is always on.
 * @throws {InvariantError} if `condition` is false
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
