// What `quire snapshot` prints for people.

import { formatSize } from '../../base/hex.ts';
import type { SnapshotDifference } from '../../snapshot/difference.ts';
import type { IndexedBlock } from '../../snapshot/page-index.ts';
import type { SnapshotReader } from '../../snapshot/snapshot-reader.ts';

/** A size for people: two digits behind the point at most. */
export function size(bytes: number): string {
  if (bytes < 1024) return formatSize(bytes);
  const power = Math.min(4, Math.floor(Math.log2(bytes) / 10));
  const unit = ['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]!;
  return `${Number((bytes / 1024 ** power).toFixed(1))} ${unit}`;
}

/** A snapshot in short. */
export interface Summary {
  readonly tag: string;
  readonly digest: string;
  readonly created: string;
  readonly parent: string | null;
  readonly ramBytes: number;
  readonly pageBytes: number;
  readonly storedBytes: number;
  /** All of them: configuration, state, page index and pages. */
  readonly blobCount: number;
}

/** A tag whose snapshot cannot be opened. */
export interface Damaged {
  readonly tag: string;
  readonly error: string;
}

/** A section in short. */
interface SectionSummary {
  readonly section: string;
  readonly version: number;
  readonly fieldCount: number;
}

const PAGE_BYTES = 4096;
const TAG_WIDTH_MIN = 12;

/** One line for each snapshot, below a heading. */
export function describeList(rows: readonly (Summary | Damaged)[]): string {
  const width = Math.max(TAG_WIDTH_MIN, ...rows.map(({ tag }) => tag.length));
  const line = (tag: string, created: string, ram: string, used: string, stored: string): string =>
    [tag.padEnd(width), created.padEnd(19), ram.padStart(9), used.padStart(9), stored.padStart(9)]
      .join('  ')
      .concat('\n');
  const lines = rows.map((row) => {
    if ('error' in row) return `${row.tag.padEnd(width)}  ${row.error}\n`;
    const { tag, created, ramBytes, pageBytes, storedBytes } = row;
    return line(tag, time(created), size(ramBytes), size(pageBytes), size(storedBytes));
  });
  return line('TAG', 'CREATED (UTC)', 'MEMORY', 'NOT ZEROS', 'STORED') + lines.join('');
}

/** All that one holds, in groups. */
export function describeSnapshot(
  { tag, digest, created, parent, storedBytes, blobCount }: Summary,
  config: Readonly<Record<string, unknown>>,
  blocks: readonly (IndexedBlock & { readonly pageCount: number })[],
  sections: readonly SectionSummary[],
): string {
  const facts: [string, string][] = [
    ['digest', digest],
    ['created', `${time(created)} UTC`],
    ...(parent === null ? [] : [['made from', parent] as [string, string]]),
    ['stored', `${size(storedBytes)} in ${count(blobCount, 'blob')}`],
  ];
  return [
    group(tag, facts),
    group(
      'Configuration',
      Object.entries(config).map(([key, value]) => [key, JSON.stringify(value)]),
    ),
    group(
      'Blocks of memory',
      blocks.map(({ id, sizeBytes, pageCount }) => [
        id,
        `${size(sizeBytes)}, of which ${size(pageCount * PAGE_BYTES)} not zeros`,
      ]),
    ),
    group(
      'Sections of state',
      sections.map(({ section, version, fieldCount }) => [
        section,
        `version ${version}, ${count(fieldCount, 'field')}`,
      ]),
    ),
  ].join('\n');
}

/** How two snapshots differ; empty if they do not. */
export function describeDifference(
  { config, sections, blocks }: SnapshotDifference,
  a: Pick<SnapshotReader, 'name' | 'config'>,
  b: Pick<SnapshotReader, 'name' | 'config'>,
): string {
  const lines: string[] = [];
  const say = (value: unknown): string => (value === undefined ? 'none' : JSON.stringify(value));
  for (const key of config)
    lines.push(`configuration ${key}: ${say(a.config[key])}, ${say(b.config[key])}`);
  for (const { section, versions, fields } of sections) {
    const [one, other] = versions;
    if (one === undefined || other === undefined)
      lines.push(`section ${section}: only in ${one === undefined ? b.name : a.name}`);
    else if (one !== other) lines.push(`section ${section}: version ${one}, ${other}`);
    else lines.push(`section ${section}: field${plural(fields.length)} ${fields.join(', ')}`);
  }
  const bytes = (value: number | undefined): string => (value === undefined ? 'none' : size(value));
  for (const { blockId, sizeBytes, pages } of blocks) {
    const [one, other] = sizeBytes;
    if (one !== other) lines.push(`block ${blockId}: ${bytes(one)}, ${bytes(other)}`);
    else lines.push(`block ${blockId}: ${count(pages.length, 'page')}: ${ranges(pages)}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

function group(title: string, facts: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...facts.map(([name]) => name.length));
  return [title, ...facts.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)]
    .map((line) => `${line}\n`)
    .join('');
}

/** `2026-11-23 18:42:09` */
function time(created: string): string {
  return created.slice(0, 19).replace('T', ' ');
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${plural(number)}`;
}

function plural(number: number): string {
  return number === 1 ? '' : 's';
}

/** Page numbers as `1–4, 9`; the first sixteen runs. */
function ranges(pages: readonly number[]): string {
  const RUNS_SHOWN = 16;
  const runs: [number, number][] = [];
  for (const page of pages) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === page - 1) last[1] = page;
    else runs.push([page, page]);
  }
  const text = runs
    .slice(0, RUNS_SHOWN)
    .map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`));
  return text.join(', ') + (runs.length > RUNS_SHOWN ? ', …' : '');
}
