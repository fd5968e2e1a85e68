// `quire snapshot VERB`: snapshots in a store, for people and, with --json, for programs.

import { coreImageOf } from '../../snapshot/core-image.ts';
import { compareSnapshots } from '../../snapshot/difference.ts';
import { sectionKey } from '../../snapshot/sections.ts';
import { SnapshotError } from '../../snapshot/snapshot-error.ts';
import type { SnapshotReader as Reader } from '../../snapshot/snapshot-reader.ts';
import { SnapshotReader } from '../../snapshot/snapshot-reader.ts';
import { verifySnapshot } from '../../snapshot/verify.ts';
import { type Command, type CommandStreams, UsageError } from '../command.ts';
import { EXIT_ERROR, EXIT_OK } from '../exit-code.ts';
import { progressOn } from '../guests-command.ts';
import { describeOptions, type Option, type ParsedOptions, parseOptions } from '../options.ts';
import { suggestion } from '../suggestion.ts';
import { writeCoreFile } from './core-file.ts';
import { DirectoryStore } from './directory-store.ts';
import { NODE_PLATFORM } from './node-platform.ts';
import { pull, push, type TransferOptions, type TransferProgress } from './registry.ts';
import { parseReference } from './registry-reference.ts';
import {
  type Damaged,
  describeDifference,
  describeList,
  describeSnapshot,
  type Summary,
  size,
} from './snapshot-text.ts';
import { storeFolder } from './store-location.ts';

const OPTIONS: readonly Option[] = [
  { names: ['store'], argument: 'DIR', summary: 'The store; else QUIRE_STORE, else your own' },
  { names: ['json'], summary: 'Print for programs' },
  { names: ['dry-run'], summary: 'gc: say what would go, and keep it' },
  { names: ['elf'], summary: 'export: an ELF core, which gdb opens' },
  { names: ['plain-http'], summary: 'push, pull: no TLS; a loopback address needs none' },
  {
    names: ['mount-from'],
    argument: 'NAME',
    isRepeated: true,
    summary: 'push: a repository of the registry with some of the blobs',
  },
];

/** What a verb is given. */
interface Call {
  readonly store: DirectoryStore;
  readonly args: readonly string[];
  readonly options: ParsedOptions;
  readonly streams: CommandStreams;
  readonly isJSON: boolean;
}

interface Verb {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  /** How many arguments it takes, at least and at most. */
  readonly counts: readonly [number, number];
  readonly run: (call: Call) => Promise<number>;
}

const VERBS: readonly Verb[] = [
  { name: 'ls', usage: '', summary: 'List the snapshots', counts: [0, 0], run: list },
  { name: 'show', usage: 'TAG', summary: 'What one holds', counts: [1, 1], run: show },
  { name: 'diff', usage: 'TAG TAG', summary: 'How two differ', counts: [2, 2], run: diff },
  {
    name: 'verify',
    usage: '[TAG...]',
    summary: 'Read every byte of some, or of all, and compare digests',
    counts: [0, Number.POSITIVE_INFINITY],
    run: verify,
  },
  {
    name: 'rm',
    usage: 'TAG...',
    summary: 'Forget some; "gc" then frees the room',
    counts: [1, Number.POSITIVE_INFINITY],
    run: remove,
  },
  { name: 'gc', usage: '', summary: 'Remove what no snapshot needs', counts: [0, 0], run: collect },
  {
    name: 'export',
    usage: '--elf TAG FILE',
    summary: 'Write memory and registers to a core file',
    counts: [2, 2],
    run: exportOne,
  },
  {
    name: 'push',
    usage: 'TAG HOST/NAME[:TAG]',
    summary: 'Send one to an OCI registry; run again to go on',
    counts: [2, 2],
    run: pushOne,
  },
  {
    name: 'pull',
    usage: 'HOST/NAME[:TAG] [TAG]',
    summary: 'Fetch one from an OCI registry; run again to go on',
    counts: [1, 2],
    run: pullOne,
  },
];

export const snapshotCommand: Command = {
  help: `Usage: quire snapshot VERB [OPTIONS] [ARGUMENTS]

Snapshots of machines, kept in an OCI image layout.

${VERBS.map((verb) => `  ${`${verb.name} ${verb.usage}`.padEnd(30)} ${verb.summary}\n`).join('')}
${describeOptions(OPTIONS)}
Credentials for registries come from config.json in DOCKER_CONFIG or ~/.docker.
docs/snapshot-format.md describes what is stored.
`,
  async run(args, streams) {
    const options = parseOptions(OPTIONS, args);
    const [name, ...rest] = options.positionals;
    const names = VERBS.map((verb) => verb.name);
    if (name === undefined) throw new UsageError(`Which verb? There are ${names.join(', ')}`);
    const verb = VERBS.find((each) => each.name === name);
    if (verb === undefined)
      throw new UsageError(
        `Unknown verb "${name}"${suggestion(name, names) || `; there are ${names.join(', ')}`}`,
      );
    const [min, max] = verb.counts;
    if (rest.length < min || rest.length > max)
      throw new UsageError(`Usage: quire snapshot ${verb.name} ${verb.usage}`.trimEnd());
    const path = options.values.get('store') ?? storeFolder();
    const store = await DirectoryStore.open(path, { create: verb.name === 'pull' });
    return verb.run({ store, args: rest, options, streams, isJSON: options.values.has('json') });
  },
};

function open(store: DirectoryStore, tag: string): Promise<Reader> {
  return SnapshotReader.open(store, NODE_PLATFORM, tag);
}

async function summarize(store: DirectoryStore, tag: string): Promise<Summary> {
  const { manifest, digest, pageIndex } = await open(store, tag);
  const layers = [manifest.config, manifest.state, manifest.pageIndex, ...manifest.pages];
  return {
    tag,
    digest,
    created: manifest.created,
    parent: manifest.parent ?? null,
    ramBytes: pageIndex.blocks.reduce((sum, block) => sum + block.sizeBytes, 0),
    pageBytes: pageIndex.runs.reduce((sum, run) => sum + run.pageCount * 4096, 0),
    storedBytes: layers.reduce((sum, layer) => sum + layer.size, 0),
    blobCount: layers.length,
  };
}

async function list({ store, streams, isJSON }: Call): Promise<number> {
  const rows: (Summary | Damaged)[] = [];
  for (const { tag } of await store.list()) {
    try {
      rows.push(await summarize(store, tag));
    } catch (error) {
      // One that is damaged must not hide the others.
      if (!(error instanceof SnapshotError)) throw error;
      rows.push({ tag, error: error.message });
    }
  }
  if (isJSON) streams.out.write(`${JSON.stringify(rows)}\n`);
  else if (rows.length === 0) streams.out.write(`No snapshots in "${store.path}"\n`);
  else streams.out.write(describeList(rows));
  return EXIT_OK;
}

async function show({ store, args, streams, isJSON }: Call): Promise<number> {
  const tag = args[0]!;
  const reader = await open(store, tag);
  const summary = await summarize(store, tag);
  const pagesOf = (index: number): number =>
    reader.pageIndex.runs
      .filter((run) => run.blockIndex === index)
      .reduce((sum, run) => sum + run.pageCount, 0);
  const blocks = reader.pageIndex.blocks.map((block, index) => ({
    ...block,
    pageCount: pagesOf(index),
  }));
  const sections = reader.sections.map((section) => ({
    section: sectionKey(section),
    version: section.version,
    fieldCount: section.values.size,
  }));
  if (isJSON) {
    const json = { ...summary, config: reader.config, blocks, sections };
    streams.out.write(`${JSON.stringify(json)}\n`);
    return EXIT_OK;
  }
  const { config } = reader;
  streams.out.write(describeSnapshot(summary, config, blocks, sections));
  return EXIT_OK;
}

async function diff({ store, args, streams, isJSON }: Call): Promise<number> {
  const [a, b] = await Promise.all([open(store, args[0]!), open(store, args[1]!)]);
  const found = await compareSnapshots(a!, b!);
  const isSame = found.config.length + found.sections.length + found.blocks.length === 0;
  const { out } = streams;
  if (isJSON) out.write(`${JSON.stringify(found)}\n`);
  else out.write(describeDifference(found, a!, b!));
  // As diff(1): 1 if they differ.
  return isSame ? EXIT_OK : EXIT_ERROR;
}

async function verify({ store, args, streams, isJSON }: Call): Promise<number> {
  const tags = args.length > 0 ? args : (await store.list()).map(({ tag }) => tag);
  const progress = progressOn(streams.err);
  interface Result {
    readonly tag: string;
    readonly error: string | null;
    readonly storedBytes: number;
    readonly note?: string;
  }
  const results: Result[] = [];
  for (const tag of tags) {
    try {
      const report = await verifySnapshot(store, NODE_PLATFORM, tag, {
        onProgress: (done, all) => progress.show(`${tag}: ${done} of ${all} blobs`),
      });
      const { storedBytes, note } = report;
      results.push({ tag, error: null, storedBytes, ...(note === undefined ? {} : { note }) });
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      results.push({ tag, error: error.message, storedBytes: 0 });
    } finally {
      progress.end();
    }
  }
  if (isJSON) streams.out.write(`${JSON.stringify(results)}\n`);
  else
    for (const { tag, error, storedBytes, note } of results) {
      streams.out.write(`${tag}: ${error ?? `whole, ${size(storedBytes)}`}\n`);
      if (note !== undefined) streams.out.write(`${tag}: ${note}\n`);
    }
  return results.every(({ error }) => error === null) ? EXIT_OK : EXIT_ERROR;
}

async function remove({ store, args }: Call): Promise<number> {
  for (const tag of args) await store.deleteTag(tag);
  return EXIT_OK;
}

async function collect({ store, options, streams, isJSON }: Call): Promise<number> {
  const isDryRun = options.values.has('dry-run');
  const report = await store.gc({ isDryRun });
  if (isJSON) streams.out.write(`${JSON.stringify(report)}\n`);
  else
    streams.out.write(
      `${isDryRun ? 'Would remove' : 'Removed'} ${report.removedCount} files, ` +
        `${size(report.removedBytes)}; ${report.keptCount} stay, ${size(report.keptBytes)}\n`,
    );
  return EXIT_OK;
}

async function exportOne({ store, args, options, streams, isJSON }: Call): Promise<number> {
  if (!options.values.has('elf'))
    throw new UsageError('Which format? "export" has --elf: quire snapshot export --elf TAG FILE');
  const [tag, path] = args as [string, string];
  const progress = progressOn(streams.err);
  const { signal, end } = untilInterrupted('Interrupted; nothing was written');
  try {
    const image = coreImageOf(await open(store, tag));
    await writeCoreFile(image, path, {
      signal,
      onProgress: (part) => progress.show(`${path}: ${Math.round(part * 100)} %`),
    });
    progress.end();
    const { regions, sizeBytes, kernelRelease } = image;
    const linux = kernelRelease === undefined ? '' : `, VMCOREINFO of Linux ${kernelRelease}`;
    const holds = `${size(sizeBytes)}, ${regions.length} regions of memory${linux}`;
    if (isJSON) {
      const json = { tag, path, sizeBytes, regions, kernelRelease: kernelRelease ?? null };
      streams.out.write(`${JSON.stringify(json)}\n`);
    } else streams.out.write(`Wrote ${tag} to ${path}: ${holds}\n`);
  } finally {
    progress.end();
    end();
  }
  return EXIT_OK;
}

/** A signal that Ctrl-C aborts, until `end` is called. */
function untilInterrupted(message: string): { signal: AbortSignal; end: () => void } {
  const controller = new AbortController();
  const interrupt = (): void => controller.abort(new Error(message));
  process.once('SIGINT', interrupt);
  return { signal: controller.signal, end: () => process.off('SIGINT', interrupt) };
}

/** Options of a transfer, and how it ends by Ctrl-C. */
function transferOptions({ options, streams }: Call) {
  const progress = progressOn(streams.err);
  const interruption = untilInterrupted('Interrupted; run it again to go on');
  const mountFrom = options.repeated.get('mount-from');
  const transfer: TransferOptions = {
    signal: interruption.signal,
    onProgress: ({ doneBlobs, blobCount, movedBytes }: TransferProgress) =>
      progress.show(`${doneBlobs} of ${blobCount} blobs, ${size(movedBytes)}`),
    ...(mountFrom === undefined ? {} : { mountFrom }),
  };
  const end = (): void => {
    interruption.end();
    progress.end();
  };
  return { transfer, end };
}

async function pushOne(call: Call): Promise<number> {
  const { store, args, options, streams } = call;
  const to = parseReference(args[1]!, options.values.has('plain-http'));
  const { transfer, end } = transferOptions(call);
  try {
    const report = await push(store, args[0]!, to, transfer);
    end();
    streams.out.write(
      `Pushed ${args[0]} to ${args[1]}: ${report.movedBlobs} blobs, ${size(report.movedBytes)}; ` +
        `${report.presentBlobs} were there\n`,
    );
    if (report.note !== undefined) streams.err.write(`quire: Note: ${report.note}\n`);
  } finally {
    end();
  }
  return EXIT_OK;
}

async function pullOne(call: Call): Promise<number> {
  const { store, args, options, streams } = call;
  const from = parseReference(args[0]!, options.values.has('plain-http'));
  const tag = args[1] ?? from.tag ?? 'latest';
  const { transfer, end } = transferOptions(call);
  try {
    const report = await pull(store, tag, from, transfer);
    end();
    streams.out.write(
      `Pulled ${args[0]} as ${tag}: ${report.movedBlobs} blobs, ${size(report.movedBytes)}; ` +
        `${report.presentBlobs} were there\n`,
    );
    if (report.note !== undefined) streams.err.write(`quire: Note: ${report.note}\n`);
  } finally {
    end();
  }
  return EXIT_OK;
}
