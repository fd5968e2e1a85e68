import { expect, test } from 'vitest';
import { FW_CFG_FILE_COUNT_MAX, FW_CFG_RAM_SIZE, FwCfg } from './fw-cfg.ts';

const DMA_AT = 0x100;
const READ = 0x02;
const SKIP = 0x04;
const SELECT = 0x08;
const WRITE = 0x10;

function create() {
  const memory = new Uint8Array(0x20_0000).fill(0xee);
  const fwCfg = new FwCfg({
    readBytes: (gpa, target) => target.set(memory.subarray(gpa, gpa + target.length)),
    writeBytes: (gpa, source) => memory.set(source, gpa),
  });
  const read = (key: number, count: number) => {
    fwCfg.select(key);
    return Array.from({ length: count }, () => fwCfg.readData());
  };
  /** Runs a request as a guest would; the control word afterwards. */
  const dma = (control: number, length: number, address: number) => {
    const view = new DataView(memory.buffer, DMA_AT, 16);
    view.setUint32(0, control >>> 0);
    view.setUint32(4, length);
    view.setUint32(8, 0);
    view.setUint32(12, address);
    fwCfg.writeDMA(0, 0);
    fwCfg.writeDMA(4, 0x0001_0000); // 0x100, big-endian.
    return view.getUint32(0);
  };
  return { memory, fwCfg, read, dma };
}

const text = (bytes: ArrayLike<number>) => String.fromCharCode(...Array.from(bytes));

test('signature, identity and numbers are read a byte at a time, zeros behind their ends', () => {
  const { fwCfg, read } = create();
  expect(text(read(0, 4))).toBe('QEMU');
  expect(read(1, 5)).toEqual([3, 0, 0, 0, 0]);
  fwCfg.setNumber(FW_CFG_RAM_SIZE, 2 ** 32 + 5, 8);
  expect(read(FW_CFG_RAM_SIZE, 9)).toEqual([5, 0, 0, 0, 1, 0, 0, 0, 0]);
  expect(read(0x7777, 2)).toEqual([0, 0]);
});

test('files are found through the directory', () => {
  const { fwCfg, read } = create();
  fwCfg.addFile('etc/one', Uint8Array.of(1, 2, 3));
  fwCfg.addFile('etc/two', Uint8Array.of(9));
  const bytes = Uint8Array.from(read(0x19, 4 + 2 * 64));
  const view = new DataView(bytes.buffer);
  expect(view.getUint32(0)).toBe(2);
  expect([view.getUint32(4), view.getUint16(8), text(bytes.subarray(12, 20))]).toEqual([
    ...[3, 0x20, 'etc/one\0'],
  ]);
  expect(read(view.getUint16(4 + 64 + 4), 2)).toEqual([9, 0]);
});

test('DMA selects, skips and reads, with zeros behind the end', () => {
  const { fwCfg, memory, dma } = create();
  fwCfg.addFile('f', Uint8Array.of(1, 2, 3, 4));
  expect([fwCfg.readDMA(0), fwCfg.readDMA(4)]).toEqual([0x554d_4551, 0x4746_4320]);
  expect(dma((0x20 << 16) | SELECT | READ, 2, 0x1000)).toBe(0);
  expect([...memory.subarray(0x1000, 0x1003)]).toEqual([1, 2, 0xee]);
  expect(dma(SKIP, 1, 0)).toBe(0);
  expect(dma(READ, 3, 0x1000)).toBe(0);
  expect([...memory.subarray(0x1000, 0x1004)]).toEqual([4, 0, 0, 0xee]);
});

test('a write, and more zeros than anybody needs, are errors and change nothing', () => {
  const { memory, dma } = create();
  expect(dma(SELECT | WRITE, 4, 0x1000)).toBe(1);
  expect(dma(SELECT | READ, 0xffff_ffff, 0x1000)).toBe(1);
  expect(memory[0x1000]).toBe(0xee);
});

test('a saved device goes on in the middle of an item', () => {
  const { fwCfg, read } = create();
  read(0, 2);
  const other = create().fwCfg;
  other.restore(fwCfg.save());
  expect(text([other.readData(), other.readData()])).toBe('MU');
});

test('names that are too long or taken, and too many files, are refused', () => {
  const { fwCfg } = create();
  const none = new Uint8Array(0);
  expect(() => fwCfg.addFile('x'.repeat(56), none)).toThrow('1 to 55 characters');
  for (let i = 0; i < FW_CFG_FILE_COUNT_MAX; i++) fwCfg.addFile(`f${i}`, none);
  expect(() => fwCfg.addFile('f0', none)).toThrow('the name must be free');
  expect(() => fwCfg.addFile('one more', none)).toThrow('there are 64 files already');
});
