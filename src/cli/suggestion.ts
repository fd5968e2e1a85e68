// "Did you mean …" for a name that is nearly right.

const DISTANCE_MAX = 2;

/** Edits (insert, delete, replace, swap of neighbours) from `a` to `b`. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      let best = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + +!isSame);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** `; did you mean "…"` for the nearest of `names`, or nothing if none is near. */
export function suggestion(wrong: string, names: readonly string[]): string {
  const near = names
    .map((name) => ({ name, distance: editDistance(wrong.slice(0, 40), name) }))
    .filter(({ name, distance }) => distance <= DISTANCE_MAX && distance < name.length)
    .sort((a, b) => a.distance - b.distance)[0];
  return near === undefined ? '' : `; did you mean "${near.name}"`;
}
