import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzOptions } from '../../../test/fuzz-options.ts';
import { BootError } from './boot-target.ts';
import { isLinuxImage, loadLinux, parseLinuxHeader } from './linux.ts';
import { loadImage } from './load-image.ts';

const MIB = 0x10_0000;

interface ImageOptions {
  version?: number;
  setupSectors?: number;
  payloadBytes?: number;
  initrdAddrMax?: number;
  initBytes?: number;
  preferredGpa?: number;
  commandLineBytes?: number;
}

/** A bzImage of nothing but a header and a payload of 0x90. */
function image(options: ImageOptions = {}): Uint8Array {
  const { setupSectors = 4, payloadBytes = 4096, version = 0x020f } = options;
  const bytes = new Uint8Array((setupSectors + 1) * 512 + payloadBytes);
  const view = new DataView(bytes.buffer);
  bytes[0x1f1] = setupSectors;
  view.setUint32(0x1f4, payloadBytes / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  bytes.set([0xeb, 0x6a], 0x200);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, version, true);
  bytes[0x211] = 0x01;
  view.setUint32(0x22c, options.initrdAddrMax ?? 0x7fff_ffff, true);
  view.setUint32(0x238, options.commandLineBytes ?? 255, true);
  view.setBigUint64(0x258, BigInt(options.preferredGpa ?? MIB), true);
  view.setUint32(0x260, options.initBytes ?? 8192, true);
  bytes.fill(0x90, (setupSectors + 1) * 512);
  return bytes;
}

test('kernel, command line and boot_params lie where the protocol wants them', () => {
  const initrd = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);
  const loaded = loadLinux({
    kernel: image(),
    initrd,
    commandLine: 'console=ttyS0',
    memoryBytes: 32 * MIB,
  });
  const at = (gpa: number) => loaded.segments.find((segment) => segment.gpa === gpa)!.bytes;
  expect(at(0x10_0000).length).toBe(4096);
  expect(at(0x10_0000)[0]).toBe(0x90);
  expect(String.fromCharCode(...at(0x2000))).toBe('console=ttyS0\0');
  expect(loaded.entry).toMatchObject({
    eip: 0x10_0000,
    codeSelector: 0x10,
    dataSelector: 0x18,
    esi: 0x1_0000,
  });
  const params = at(0x1_0000);
  const view = new DataView(params.buffer, params.byteOffset);
  expect(params.length).toBe(4096);
  expect(view.getUint32(0x202, true)).toBe(0x5372_6448);
  expect(params[0x210]).toBe(0xff);
  expect(view.getUint32(0x228, true)).toBe(0x2000);
  const initrdGpa = view.getUint32(0x218, true);
  expect(initrdGpa).toBe(32 * MIB - 8192);
  expect(at(initrdGpa)).toBe(initrd);
  expect(view.getUint32(0x21c, true)).toBe(5000);
  expect([params[0x06], params[0x07], params[0x0e]]).toEqual([3, 80, 25]);
  const gdt = at(0x1000);
  expect([...gdt.subarray(0x10, 0x18)]).toEqual([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]);
  expect([...gdt.subarray(0x18, 0x20)]).toEqual([0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
});

test('e820 shows base memory, the tables as reserved, and RAM on both sides of 4 GiB', () => {
  const entries = (memoryBytes: number) => {
    const { segments } = loadLinux({ kernel: image(), memoryBytes });
    const params = segments.find((segment) => segment.gpa === 0x1_0000)!.bytes;
    const view = new DataView(params.buffer, params.byteOffset);
    return Array.from({ length: params[0x1e8]! }, (_, i) => [
      Number(view.getBigUint64(0x2d0 + i * 20, true)),
      Number(view.getBigUint64(0x2d8 + i * 20, true)),
      view.getUint32(0x2e0 + i * 20, true),
    ]);
  };
  expect(entries(64 * MIB)).toEqual([
    [0, 0x9_fc00, 1],
    [0x9_fc00, 0x400, 2],
    [0xe_0000, 0x2_0000, 2],
    [0x10_0000, 63 * MIB, 1],
    [0xfec0_0000, 0x1000, 2],
    [0xfee0_0000, 0x1000, 2],
  ]);
  expect(entries(4000 * MIB).at(-1)).toEqual([2 ** 32, 4000 * MIB - 0xe000_0000, 1]);
  expect(entries(4000 * MIB)[3]).toEqual([0x10_0000, 0xe000_0000 - 0x10_0000, 1]);
});

test('the initrd stays below initrd_addr_max', () => {
  const kernel = image({ initrdAddrMax: 0x7f_ffff });
  const initrd = new Uint8Array(4096);
  const { segments } = loadLinux({ kernel, initrd, memoryBytes: 64 * MIB });
  expect(segments.at(-1)!.gpa).toBe(0x80_0000 - 4096);
});

test.each([
  ['no image', () => new Uint8Array(0), 'must hold a setup header'],
  ['no boot flag', () => new Uint8Array(0x1000), 'boot_flag must be 0xaa55'],
  ['an old protocol', () => image({ version: 0x0202 }), 'at least 2.03, got 2.2'],
  [
    'another magic',
    () => {
      const bytes = image();
      bytes[0x202] = 0;
      return bytes;
    },
    'the header\'s magic must be "HdrS"',
  ],
  [
    'a zImage',
    () => {
      const bytes = image();
      bytes[0x211] = 0;
      return bytes;
    },
    'must be a bzImage',
  ],
  ['a truncated image', () => image().subarray(0, 4000), 'the image must be 6656 bytes long'],
])('%s is a clear error', (_name, make, message) => {
  expect(() => parseLinuxHeader(make())).toThrow(BootError);
  expect(() => parseLinuxHeader(make())).toThrow(message);
});

test.each([
  [{ kernel: image({ initBytes: 40 * MIB, preferredGpa: 16 * MIB }) }, 'it needs RAM up to'],
  [{ kernel: image(), initrd: new Uint8Array(8 * MIB) }, 'the initrd of 8388608 bytes must fit'],
  [{ kernel: image(), commandLine: 'x'.repeat(256) }, 'at most 255 bytes long, it has 256'],
  [{ kernel: image(), commandLine: 'π' }, 'Latin-1 characters'],
])('what does not fit is a clear error', (options, message) => {
  expect(() => loadLinux({ memoryBytes: 8 * MIB, ...options })).toThrow(BootError);
  expect(() => loadLinux({ memoryBytes: 8 * MIB, ...options })).toThrow(message);
});

test('every truncated prefix and every damaged header is loaded or refused by a BootError', () => {
  const whole = image({ setupSectors: 1, payloadBytes: 512 });
  for (let length = 0; length < whole.length; length++) {
    const cut = whole.subarray(0, length);
    if (length + 15 < whole.length)
      expect(() => loadImage({ memoryBytes: MIB * 2 }, cut)).toThrow(BootError);
  }
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0x1f0, max: 0x27f }), fc.nat(255)), { maxLength: 12 }),
      (changes) => {
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        try {
          const { segments } = loadImage({ memoryBytes: 2 * MIB }, bytes);
          for (const { gpa, bytes: data } of segments)
            expect(gpa + data.length).toBeLessThanOrEqual(2 * MIB);
        } catch (error) {
          expect(error).toBeInstanceOf(BootError);
        }
      },
    ),
    fuzzOptions(500),
  );
});

test('an image of no known kind says so', () => {
  expect(isLinuxImage(new Uint8Array(0x300))).toBe(false);
  expect(() => loadImage({ memoryBytes: MIB }, new Uint8Array(0x300))).toThrow(
    'Cannot boot kernel: the image must be a Linux bzImage or a multiboot image',
  );
});

test('a kernel that takes setup_data gets a random seed, another one at each start', () => {
  let drawn = 0;
  const fillRandom = (bytes: Uint8Array) => bytes.fill(++drawn);
  const seedOf = (version: number) => {
    const kernel = image({ version });
    const { segments } = loadLinux({ kernel, memoryBytes: 32 * MIB, fillRandom });
    const params = segments.find(({ gpa }) => gpa === 0x1_0000)!.bytes;
    const gpa = new DataView(params.buffer, params.byteOffset).getUint32(0x250, true);
    return { gpa, segment: segments.find((segment) => segment.gpa === gpa) };
  };
  // The protocol has setup_data since version 2.09.
  expect(seedOf(0x0208)).toEqual({ gpa: 0, segment: undefined });
  const { gpa, segment } = seedOf(0x020f);
  expect(gpa).toBe(0x1_1000);
  // No next node, type 9 (SETUP_RNG_SEED), 32 bytes.
  const head = [0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0, 0];
  const first = [...segment!.bytes];
  expect(first.slice(0, 16)).toEqual(head);
  expect(first.slice(16)).toEqual(new Array<number>(32).fill(drawn));
  expect([...segment!.bytes].slice(16)).toEqual(new Array<number>(32).fill(drawn));
  expect([...segment!.bytes]).not.toEqual(first);
});
