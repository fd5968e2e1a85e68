// The worked example of docs/memory.md is taken from that page and run, so that it cannot rot.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type AddressSpace, formatTree, type GuestMemory } from '../src/memory/index.ts';

interface Board {
  readonly memory: GuestMemory;
  readonly addressSpace: AddressSpace;
  store(address: number, value: number): void;
  changedLines(): number[];
}

const HERE = fileURLToPath(new URL('.', import.meta.url));
let folder: string;
let createBoard: (image: Uint8Array, print: (text: string) => void) => Board;

beforeAll(async () => {
  const page = readFileSync(join(HERE, '../docs/memory.md'), 'utf8');
  const [, code] = /```ts\n([\s\S]*?)```/.exec(page)!;
  folder = mkdtempSync(join(HERE, '../node_modules/.memory-board-'));
  const library = pathToFileURL(join(HERE, '../src/memory/index.ts')).href;
  const file = join(folder, 'board.ts');
  writeFileSync(file, code!.replace("'quire/memory'", JSON.stringify(fileURLToPath(library))));
  ({ createBoard } = (await import(file)) as { createBoard: typeof createBoard });
});

afterAll(() => rmSync(folder, { recursive: true }));

test('the board in docs/memory.md does what the page says', () => {
  let printed = '';
  const image = new Uint8Array(65536).fill(0x90);
  const board = createBoard(image, (text) => {
    printed += text;
  });
  const { addressSpace, store, changedLines } = board;

  for (const value of [7, 8]) {
    store(0x8000_1234, value); // The first misses, the second hits.
    expect(addressSpace.read(0x1234, 4)).toBe(value);
  }
  store(0xffff_f000, 0);
  store(0xffff_f000, 0);
  expect(addressSpace.read(0xffff_f000, 4)).toBe(0x90909090);
  expect(addressSpace.romWriteCount).toBe(2);

  store(0x1000_0000, 0x6948);
  expect(printed).toBe('H');
  expect(addressSpace.read(0x1000_0004, 4)).toBe(0x6000);

  expect(changedLines().length).toBe(32);
  expect(changedLines()).toEqual([]);
  for (let round = 0; round < 2; round++) {
    store(0x2000_1004, 0xff + round);
    store(0x2000_1008, 0xff);
    expect(changedLines()).toEqual([8]);
    expect(changedLines()).toEqual([]);
  }
  expect(formatTree([addressSpace])).toContain('(prio 0, ram): alias ram-mirror @ram');
});
