// Changes of the region tree take effect together: address spaces are rendered once, when the
// outermost transaction ends.

/** What must be rendered again when regions change: an address space. */
export interface RegionUser {
  /** Renders again and tells listeners what changed. */
  update(): void;
}

let depth = 0;
let isUpdating = false;
const pending = new Set<RegionUser>();

/**
 * Runs `change`; whatever it does to memory regions takes effect when it returns, or throws. May be
 * nested: the outermost one counts.
 */
export function transaction<Result>(change: () => Result): Result {
  depth++;
  try {
    return change();
  } finally {
    depth--;
    if (depth === 0) updatePending();
  }
}

/** Asks for an update of `user`: at once, or at the end of the transaction. @internal */
export function requestUpdate(users: Iterable<RegionUser>): void {
  for (const user of users) pending.add(user);
  if (depth === 0) updatePending();
}

function updatePending(): void {
  // A listener may change regions again: that adds to the set, and the loop takes it up once the
  // update that is under way is complete.
  if (isUpdating) return;
  isUpdating = true;
  const errors: unknown[] = [];
  for (const user of pending) {
    pending.delete(user);
    try {
      user.update();
    } catch (error) {
      errors.push(error); // The other spaces must not miss their update.
    }
  }
  isUpdating = false;
  if (errors.length > 0) throw errors[0];
}
