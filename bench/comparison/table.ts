// Tables for people: the first column to the left, all others to the right.

/** Times in ms, in the unit that reads best, with at most four significant digits. */
export function formatMs(ms: number | undefined): string {
  if (ms === undefined || Number.isNaN(ms)) return '–';
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
  return `${(ms / 1000).toFixed(ms < 100_000 ? 2 : 1)} s`;
}

/** `over / under`, or a dash where one of them is missing. */
export function formatRatio(over: number | undefined, under: number | undefined): string {
  if (over === undefined || under === undefined || !(under > 0) || Number.isNaN(over)) return '–';
  const ratio = over / under;
  return ratio.toFixed(ratio < 10 ? 2 : ratio < 100 ? 1 : 0);
}

export function formatCount(count: number | undefined): string {
  return count === undefined || count === 0 ? '–' : `${(count / 1e6).toFixed(1)} M`;
}

export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!),
    );
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
  }
}
