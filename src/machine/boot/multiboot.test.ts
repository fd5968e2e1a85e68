import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { BootError } from './boot-target.ts';
import { loadImage } from './load-image.ts';
import { findMultibootHeader, loadMultiboot } from './multiboot.ts';

const MIB = 0x10_0000;
const MAGIC = 0x1bad_b002;

function putHeader(bytes: Uint8Array, at: number, flags: number, ...fields: number[]): void {
  const view = new DataView(bytes.buffer);
  const words = [MAGIC, flags, (2 ** 32 * 2 - MAGIC - flags) % 2 ** 32, ...fields];
  for (const [i, word] of words.entries()) view.setUint32(at + i * 4, word, true);
}

/** Header at file offset 8, loaded at 1 MiB, 64 bytes of code, 1000 bytes of BSS. */
function plain(): Uint8Array {
  const bytes = new Uint8Array(128).fill(0x90);
  const load = MIB;
  putHeader(bytes, 8, 0x1_0003, load + 8, load, load + 128, load + 1128, load + 64);
  return bytes;
}

function elf(
  options: { gpa?: number; linear?: number; fileBytes?: number; memoryBytes?: number } = {},
): Uint8Array {
  const { gpa = MIB, linear = gpa, fileBytes = 64, memoryBytes = 5000 } = options;
  const bytes = new Uint8Array(0x200);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 3, true);
  view.setUint32(24, linear + 16, true);
  view.setUint32(28, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, 1, true);
  for (const [i, word] of [1, 0x100, linear, gpa, fileBytes, memoryBytes].entries())
    view.setUint32(52 + i * 4, word, true);
  putHeader(bytes, 0x100, 0x3);
  return bytes;
}

const OPTIONS = { modules: [], commandLine: '', memoryBytes: 16 * MIB };

test('an image with addresses in its header goes where they say', () => {
  const { segments, entry } = loadMultiboot({ ...OPTIONS, kernel: plain() });
  expect(segments[0]).toMatchObject({ gpa: MIB, zeroBytes: 1000 });
  expect(segments[0]!.bytes.length).toBe(128);
  expect(entry).toMatchObject({ eip: MIB + 64, eax: 0x2bad_b002, ebx: 0x2000 });
});

test('an ELF image goes to its physical addresses, and so does its entry point', () => {
  const kernel = elf({ gpa: 2 * MIB, linear: 0xc020_0000 });
  const { segments, entry } = loadMultiboot({ ...OPTIONS, kernel });
  expect(segments[0]).toMatchObject({ gpa: 2 * MIB, zeroBytes: 5000 - 64 });
  expect(entry.eip).toBe(2 * MIB + 16);
});

test('boot information holds sizes, command line, modules, map and the loader', () => {
  const first = new Uint8Array(5000);
  const second = new Uint8Array(10);
  const { segments } = loadMultiboot({
    kernel: plain(),
    modules: [{ bytes: first, commandLine: 'one' }, { bytes: second }],
    commandLine: 'kernel arg',
    memoryBytes: 16 * MIB,
  });
  const info = segments.find((segment) => segment.gpa === 0x2000)!.bytes;
  const view = new DataView(info.buffer, info.byteOffset);
  const text = (gpa: number) => {
    let out = '';
    for (let at = gpa - 0x2000; info[at] !== 0; at++) out += String.fromCharCode(info[at]!);
    return out;
  };
  expect(view.getUint32(0, true)).toBe(0x24d);
  expect([view.getUint32(4, true), view.getUint32(8, true)]).toEqual([639, 15 * 1024]);
  expect(text(view.getUint32(16, true))).toBe('kernel arg');
  expect(text(view.getUint32(64, true))).toBe('quire');
  expect(view.getUint32(20, true)).toBe(2);
  const table = view.getUint32(24, true) - 0x2000;
  const [start, end, name] = [0, 4, 8].map((at) => view.getUint32(table + at, true));
  expect(start! % 4096).toBe(0);
  expect(start!).toBeGreaterThanOrEqual(MIB + 1128);
  expect(end! - start!).toBe(5000);
  expect(text(name!)).toBe('one');
  expect(segments.some((segment) => segment.gpa === start && segment.bytes === first)).toBe(true);
  expect(view.getUint32(table + 16, true)).toBeGreaterThanOrEqual(end!);
  const map = view.getUint32(48, true) - 0x2000;
  expect(view.getUint32(44, true) % 24).toBe(0);
  expect(view.getUint32(map, true)).toBe(20);
  expect(Number(view.getBigUint64(map + 12, true))).toBe(0x9_fc00);
});

test('an initrd is the first module', () => {
  const initrd = new Uint8Array(7);
  const { segments } = loadImage({ memoryBytes: 16 * MIB, initrd }, plain());
  expect(segments.some((segment) => segment.bytes === initrd)).toBe(true);
});

test('the header is found on a multiple of four in the first 8 KiB, with a right checksum', () => {
  const bytes = new Uint8Array(9000);
  putHeader(bytes, 8180, 0x3);
  expect(findMultibootHeader(bytes)?.offset).toBe(8180);
  bytes[8180 + 8]! ^= 1;
  expect(findMultibootHeader(bytes)).toBeUndefined();
  const late = new Uint8Array(9000);
  putHeader(late, 8184, 0x3);
  expect(findMultibootHeader(late)).toBeUndefined();
});

test.each([
  [
    'an unknown feature',
    () => {
      const bytes = plain();
      putHeader(bytes, 8, 0x1_0008, MIB + 8, MIB, 0, 0, MIB);
      return bytes;
    },
    'unknown features 0x8',
  ],
  [
    'data beyond the file',
    () => {
      const bytes = plain();
      putHeader(bytes, 8, 0x1_0003, MIB + 8, MIB, MIB + 4096, 0, MIB);
      return bytes;
    },
    'the image must hold 0x1000 bytes',
  ],
  [
    'a load address behind the header',
    () => {
      const bytes = plain();
      putHeader(bytes, 8, 0x1_0003, MIB, MIB + 8, 0, 0, MIB);
      return bytes;
    },
    'must lie at or before the header',
  ],
  [
    'an image over the display',
    () => {
      const bytes = plain();
      putHeader(bytes, 8, 0x1_0003, 0xa_0008, 0xa_0000, 0, 0, 0xa_0000);
      return bytes;
    },
    'it must lie in free RAM',
  ],
  ['an image above RAM', () => elf({ gpa: 64 * MIB }), 'it must lie in free RAM'],
  [
    'no ELF and no addresses',
    () => {
      const bytes = new Uint8Array(64);
      putHeader(bytes, 0, 0);
      return bytes;
    },
    'it must be an ELF file',
  ],
  ['more in the file than in memory', () => elf({ memoryBytes: 63 }), 'program header 0'],
  ['more than the file has', () => elf({ fileBytes: 0x101 }), 'program header 0'],
])('%s is a clear error', (_name, make, message) => {
  expect(() => loadMultiboot({ ...OPTIONS, kernel: make() })).toThrow(BootError);
  expect(() => loadMultiboot({ ...OPTIONS, kernel: make() })).toThrow(message);
});

test('modules that do not fit are refused', () => {
  const modules = [{ bytes: new Uint8Array(16 * MIB) }];
  expect(() => loadMultiboot({ ...OPTIONS, kernel: plain(), modules })).toThrow('must fit below');
});

test('truncated and damaged images are loaded inside RAM or refused by a BootError', () => {
  const check = (bytes: Uint8Array) => {
    try {
      const { segments } = loadImage({ memoryBytes: 16 * MIB }, bytes);
      for (const { gpa, bytes: data, zeroBytes } of segments)
        expect(gpa + data.length + (zeroBytes ?? 0)).toBeLessThanOrEqual(16 * MIB);
    } catch (error) {
      expect(error).toBeInstanceOf(BootError);
    }
  };
  for (const whole of [plain(), elf()]) {
    for (let length = 0; length < whole.length; length++) check(whole.subarray(0, length));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 10 }),
        (changes) => {
          const bytes = whole.slice();
          for (const [at, value] of changes) bytes[at] = value;
          check(bytes);
        },
      ),
      fuzzOptions(300),
    );
  }
});
